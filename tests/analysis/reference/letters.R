# Groups of rows that cannot be separated, by the insert-and-absorb algorithm of R's multcompView (Debian: r-cran-multcompview), for tests/analysis/test_stats_formulas.py.
# Run: Rscript letters.R > letters.expected.tsv      (lines ROWS <tab> SEPARATED PAIRS <tab> GROUPS; the first one names the versions)
suppressPackageStartupMessages(library(multcompView))
cat(sprintf("R %s, multcompView %s\n", paste(R.version$major, R.version$minor, sep = "."), packageVersion("multcompView")))
show <- function(rows, separated) { # separated: a matrix of two columns, row numbers
  pairs <- t(combn(rows, 2))
  key <- function(m) paste0("r", m[, 1], "-r", m[, 2])
  flags <- setNames(key(pairs) %in% key(separated), key(pairs))
  found <- multcompLetters(flags)$LetterMatrix
  groups <- if (is.null(found)) paste(seq_len(rows), collapse = ",") else {
    order <- as.integer(sub("r", "", rownames(found)))
    sort(apply(found, 2, function(column) paste(sort(order[column]), collapse = ",")))
  }
  cat(rows, paste(key(separated), collapse = " "), paste(groups, collapse = " "), sep = "\t")
  cat("\n")
}
pair <- function(...) matrix(c(...), ncol = 2, byrow = TRUE)
show(3, pair(1, 3))
show(3, pair(1, 3, 2, 3))
show(4, pair(1, 3, 1, 4, 2, 4))
show(4, pair(1, 2, 3, 4))
show(5, pair(1, 2, 1, 3, 1, 4, 1, 5))
show(6, pair(1, 4, 2, 5, 3, 6, 1, 6))
set.seed(11)
for (rows in 4:9) for (share in c(0.2, 0.4, 0.7)) {
  pairs <- t(combn(rows, 2))
  chosen <- pairs[runif(nrow(pairs)) < share, , drop = FALSE]
  if (nrow(chosen)) show(rows, chosen)
}
