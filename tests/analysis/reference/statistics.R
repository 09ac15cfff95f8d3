# Reference values from base R for tests/analysis/test_stats_formulas.py: what analysis/stats must find on the data of statistics.tsv.
# Run: Rscript statistics.R statistics.tsv > statistics.expected.tsv          (lines NAME <tab> VALUE; the first one names R's version)
options(warn = 2)
data <- read.delim(commandArgs(trailingOnly = TRUE)[1])
say <- function(name, value) cat(sprintf("%s\t%.17g\n", paste0(name, if (length(value) > 1) paste0(".", seq_along(value)) else ""), value), sep = "")
get <- function(set) { # a matrix: rows by columns
  part <- data[data$set == set, ]
  m <- matrix(NA_real_, max(part$row), max(part$column))
  m[cbind(part$row, part$column)] <- part$value
  m
}
cat(sprintf("R\t%s\n", paste(R.version$major, R.version$minor, sep = ".")))

# ---- Student: one sample and paired ----
for (n in c(2, 3, 5, 10, 30)) for (level in c(0.9, 0.95, 0.99)) {
  m <- get(sprintf("pair%d", n))
  single <- t.test(m[1, ], conf.level = level)
  both <- t.test(m[1, ], m[2, ], paired = TRUE, conf.level = level)
  name <- sprintf("t.%d.%g", n, level)
  say(paste0(name, ".single"), single$conf.int)
  say(paste0(name, ".paired"), c(both$estimate, both$conf.int, both$parameter, both$p.value))
}

# ---- Holm ----
for (set in c("holm9", "holm4")) say(set, p.adjust(get(set)[1, ], "holm"))

# ---- power of the paired t test, both tails ----
exact <- .Machine$double.eps^0.5
for (n in c(3, 5, 10, 30)) for (k in c(1, 9, 45)) {
  name <- sprintf("power.%d.%d", n, k)
  for (delta in c(0.5, 1, 3)) if (sqrt(n) * delta < 37) # beyond, R's noncentral t loses its digits, as its help says
    say(sprintf("%s.%g", name, delta), power.t.test(n, delta, 1, 0.05 / k, type = "paired", strict = TRUE)$power)
  if (!(n == 3 && k > 9))
    say(paste0(name, ".smallest"), power.t.test(n, sd = 1, sig.level = 0.05 / k, power = 0.8, type = "paired", strict = TRUE, tol = exact)$delta)
}
for (delta in c(0.5, 1, 2)) for (k in c(1, 9))
  say(sprintf("seeds.%g.%d", delta, k), ceiling(power.t.test(delta = delta, sd = 1, sig.level = 0.05 / k, power = 0.8, type = "paired", strict = TRUE, tol = exact)$n))

# ---- mean squares of the table of seeds by examples ----
for (set in c("crossed_mean", "crossed_binary")) {
  m <- get(set)
  frame <- data.frame(y = as.vector(m), seed = factor(row(m)), example = factor(col(m)))
  squares <- summary(aov(y ~ seed + example, frame))[[1]][["Mean Sq"]] # seed, example, and what is left: their interaction
  n <- nrow(m)
  examples <- ncol(m)
  a <- squares[1] / (n * examples)
  b <- max(squares[2] - squares[3], 0) / (n * examples)
  df <- min((n - 1) * (a + b) / a, examples - 1)
  say(set, c(mean(m), squares, a, b, df, mean(m) + c(-1, 1) * qt(0.975, df) * sqrt(a + b)))
}

# ---- scores, and pseudo-values by leaving out one example after the other ----
f1.of <- function(label, prediction, c) {
  hit <- sum(label == c & prediction == c)
  wrong <- sum((label == c) != (prediction == c))
  if (hit + wrong > 0) 2 * hit / (2 * hit + wrong) else 0
}
f1 <- function(label, prediction, classes) if (classes == 2) f1.of(label, prediction, 1) else mean(sapply(seq_len(classes) - 1, function(c) f1.of(label, prediction, c)))
matthews <- function(label, prediction, classes) { # R_K as the correlation of indicator matrices
  one <- function(v) outer(v, seq_len(classes) - 1, "==") * 1
  x <- one(label)
  y <- one(prediction)
  inner <- function(u, v) sum(cov(u, v)[cbind(seq_len(classes), seq_len(classes))])
  if (inner(x, x) * inner(y, y) > 0) inner(x, y) / sqrt(inner(x, x) * inner(y, y)) else 0
}
jackknife <- function(name, score, label, prediction) {
  n <- length(label)
  whole <- score(label, prediction)
  left.out <- sapply(seq_len(n), function(e) score(label[-e], prediction[-e]))
  pseudo <- n * whole - (n - 1) * left.out
  say(name, c(whole, pseudo + whole - mean(pseudo)))
}
for (set in c("binary", "classes3")) {
  m <- get(set)
  classes <- if (set == "binary") 2 else 3
  jackknife(paste0(set, ".accuracy"), function(a, b) mean(a == b), m[1, ], m[2, ])
  jackknife(paste0(set, ".f1"), function(a, b) f1(a, b, classes), m[1, ], m[2, ])
  jackknife(paste0(set, ".matthews"), function(a, b) matthews(a, b, classes), m[1, ], m[2, ])
}
m <- get("values")
jackknife("values.pearson", function(a, b) cor(a, b), m[1, ], m[2, ])
jackknife("values.spearman", function(a, b) cor(a, b, method = "spearman"), m[1, ], m[2, ])
jackknife("values.mse", function(a, b) mean((a - b)^2), m[1, ], m[2, ])
