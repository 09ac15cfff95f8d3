#!/usr/bin/env Rscript
# The same as runs.py in R, with Bioconductor's rhdf5 (Debian: r-bioc-rhdf5): a tidy frame, paired differences, loss curves.
# usage: Rscript runs.R FOLDER [CONTROL]
suppressMessages(library(rhdf5))

# Whole numbers of 64 bits become R's numbers, exact up to 2^53. Only theta_hash and the examples' ids are larger: read those with bit64conversion = "bit64".
read_table <- function(file, place) {
  rows <- suppressWarnings(h5read(file, place, bit64conversion = "double"))
  rows <- as.data.frame(lapply(rows, as.vector))
  if ("attempt" %in% names(rows)) rows[rows$attempt > 0, ] else rows
}

# Of each key the rows of the last attempt, of these the last one.
newest <- function(rows, key) {
  rows <- rows[do.call(order, c(rows[c(key, "attempt")], list(seq_len(nrow(rows))))), ]
  rows[!duplicated(rows[key], fromLast = TRUE), ]
}

read_run <- function(file) {
  lines <- strsplit(h5read(file, "config_canonical"), "\n")[[1]]
  settings <- setNames(as.list(sub("^[^=]*=", "", lines)), sub("=.*", "", lines))
  result <- h5readAttributes(file, "result")
  accounting <- h5readAttributes(file, "accounting")
  steps <- newest(read_table(file, "series/steps"), "step")
  data.frame(run = sub("\\.h5$", "", basename(file)), data = h5readAttributes(file, "provenance")$dataset, method = settings$method.name,
             seed = as.integer(settings$seed), metric = result$metric, test = result$test_metric, validation = result$validation_metric,
             trainable = as.numeric(accounting$trainable_method), stored_bytes = as.numeric(accounting$stored_bytes), step_s = median(steps$step_s))
}

is_run <- function(file) {
  root <- h5readAttributes(file, "/")
  identical(root$kind, "peftscale run") && root$status == "complete" && root$schema_version <= 1
}

words <- commandArgs(trailingOnly = TRUE)
control <- if (length(words) > 1) words[2] else "lora"
files <- Filter(is_run, list.files(words[1], pattern = "\\.h5$", recursive = TRUE, full.names = TRUE))
frame <- do.call(rbind, lapply(files, read_run))
files <- files[!is.na(frame$test)] # trials of learning rates have no test score
frame <- frame[!is.na(frame$test), ]
print(frame, digits = 10)

# Paired differences to the control over common seeds, with t intervals.
for (data in unique(frame$data)) {
  base <- frame[frame$data == data & frame$method == control, c("seed", "test")]
  for (method in setdiff(unique(frame$method[frame$data == data]), control)) {
    both <- merge(frame[frame$data == data & frame$method == method, c("seed", "test")], base, by = "seed")
    change <- both$test.x - both$test.y
    half <- if (length(change) > 1) qt(0.975, length(change) - 1) * sd(change) / sqrt(length(change)) else NA
    cat(sprintf("difference %s %s %d %.10f %.10f\n", data, method, length(change), mean(change), half))
  }
}

# A loss curve: of all seeds of the control, the mean of ten steps.
course <- do.call(rbind, lapply(files[frame$method == control], function(file) newest(read_table(file, "series/steps"), "step")[c("step", "loss")]))
course <- aggregate(loss ~ step, course, mean)
course$smooth <- stats::filter(course$loss, rep(1 / 10, 10), sides = 1)
print(tail(course, 3), digits = 10)
