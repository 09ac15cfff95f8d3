#!/bin/bash
# Checks that src is one straight line of layers: which folder includes which, where the headers of MPI, HDF5, BLAS and oneDNN may appear (also by way of another
# header), that the model names no method, and that nothing below the commands ends the process. Likewise for analysis: analysis_layers.py.
#
# Usage: tests/support/layers.sh [ROOT]      prints FILE:LINE: what is wrong; exit 1 if anything is
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=${1:-$(cd "$here/../.." && pwd)}
cd "$root" || exit 2
mapfile -t files < <(find src -name '*.[ch]' 2>/dev/null | LC_ALL=C sort)
if [ ${#files[@]} -eq 0 ]; then
  echo "layers: no sources under $root/src" >&2
  exit 2
fi

# The methods there are, from the table that registers them.
methods=$(sed -n -E 's/^METHOD\(method_([a-z0-9_]+)\).*/\1/p' src/method/list.h 2>/dev/null | tr '\n' ' ')

LC_ALL=C awk -v methods="$methods" '
  BEGIN {
    line_of_layers = "base linalg method model"
    may["base"] = "base"
    may["linalg"] = "linalg base"
    may["method"] = "method linalg base"
    may["model"] = "model method linalg base"
    n = split("data comm optim store config", side, " ")
    for (i = 1; i <= n; i++) may[side[i]] = side[i] " base"
    may["train"] = "train data comm optim store config " line_of_layers
    may["sweep"] = "sweep " may["train"]
    may["cmd"] = may["main"] = "cmd " may["sweep"]
    # Libraries that one folder (or two) hides from the rest.
    library["mpi"] = "^(mpi(-ext|_portable_platform|o)?|mpi/.*)[.]h$";    home["mpi"] = "comm main"
    library["hdf5"] = "^(hdf5(_hl)?|H5[A-Za-z0-9_]*)[.]h$";               home["hdf5"] = "store data"
    library["BLAS"] = "^(openblas.*/)?(cblas|f77blas|lapacke?|openblas_config|openblas.*)[.]h$"; home["BLAS"] = "linalg"
    library["oneDNN"] = "^(oneapi/dnnl/)?dnnl[a-z_]*[.]h(pp)?$";          home["oneDNN"] = "linalg"
    # These names are also plain words (the head of a model, a full matrix, a colour); as method_NAME they are refused like the others.
    plain["full"] = plain["head"] = plain["red"] = 1
    method_count = split(methods, method, " ")
  }

  function has(list, word) { return index(" " list " ", " " word " ") > 0 }
  function report(where, text) { print where ": " text; bad++ }

  # Sets code (comments out) and bare (comments and the insides of strings out) for one line; a block comment may go on over lines.
  function strip(line,    i, c, two, quote) {
    code = bare = ""
    quote = ""
    for (i = 1; i <= length(line); i++) {
      c = substr(line, i, 1); two = substr(line, i, 2)
      if (comment) { if (two == "*/") { comment = 0; i++ } continue }
      if (quote != "") {
        code = code c
        if (c == "\\") { code = code substr(line, ++i, 1); continue }
        if (c == quote) { bare = bare c; quote = "" }
        continue
      }
      if (two == "/*") { comment = 1; i++; code = code " "; bare = bare " "; continue }
      if (two == "//") return
      if (c == "\"" || c == "\047") quote = c
      code = code c; bare = bare c
    }
  }

  FNR == 1 {
    comment = 0
    parts = split(FILENAME, part, "/")
    folder = parts > 2 ? part[2] : (FILENAME == "src/main.c" ? "main" : "")
    if (!(folder in may)) report(FILENAME ":1", "no layer of this name: see the table in tests/support/layers.sh")
    layer[FILENAME] = folder
  }

  {
    strip($0)
    where = FILENAME ":" FNR
    if (match(code, /^[ \t]*#[ \t]*include[ \t]*/)) {
      target = substr(code, RLENGTH + 1); open = substr(target, 1, 1)
      sub(/^[<"]/, "", target); sub(/[>"].*$/, "", target)
      # A library header counts however it is quoted.
      name = target; sub(/^.*openmpi\//, "", name)
      for (l in library) if (name ~ library[l]) {
        if (!(FILENAME SUBSEP l in reach)) reach[FILENAME, l] = where
        direct[FILENAME, l] = 1
        if (!has(home[l], folder)) report(where, "src/" folder " includes " target ", which only " places(home[l]) " may")
      }
      if (open == "\"") {
        if (target ~ /(^|\/)[.][.]?\//) report(where, "\"" target "\": name the header from src on, without . or ..")
        split(target, step, "/")
        other = index(target, "/") ? step[1] : folder
        if (folder in may && !has(may[folder], other))
          report(where, "src/" folder " may not include src/" other " (" target "): it may include " may[folder])
        edges++; edge_from[edges] = FILENAME; edge_where[edges] = where
        edge_to[edges] = index(target, "/") ? "src/" target : "src/" folder "/" target
      } else if (open == "<" && index(target, "/")) {
        split(target, step, "/")
        if (step[1] in may && step[1] != "main") report(where, "<" target ">: headers of the project go in quotation marks")
      }
    }
    if (folder == "model")
      for (i = 1; i <= method_count; i++) {
        word = method[i]; gsub(/_/, "[-_]?", word)
        text = " " tolower(code) " "
        if (text ~ ("[^a-z0-9_]method_" method[i] "[^a-z0-9_]") || (!(method[i] in plain) && text ~ ("[^a-z]" word "[^a-z]")))
          report(where, "the model names a method (" method[i] "): ask the adapter instead")
      }
    # A child that was forked to become another program is no process of ours any more.
    if (folder != "cmd" && folder != "main" && FILENAME != "src/base/process.c" && (" " bare) ~ /[^A-Za-z0-9_](exit|_exit|_Exit|quick_exit|abort)[ \t]*\(/)
      report(where, "ends the process: return an error instead")
  }

  function places(list) { sub(/main/, "main.c", list); gsub(/ /, " and src/", list); return "src/" list }

  END {
    # A library that a header pulls in reaches all who include that header.
    do {
      changed = 0
      for (e = 1; e <= edges; e++)
        for (l in library)
          if ((edge_to[e] SUBSEP l in reach) && !(edge_from[e] SUBSEP l in reach)) { reach[edge_from[e], l] = edge_where[e]; changed = 1 }
    } while (changed)
    for (key in reach) {
      split(key, k, SUBSEP)
      if (!(key in direct) && !has(home[k[2]], layer[k[1]]))
        report(reach[key], "gets the header of " k[2] " by way of another, which only " places(home[k[2]]) " may")
    }
    if (bad) { printf "layers: %d violation%s\n", bad, bad == 1 ? "" : "s"; exit 1 }
    print "layers: " FILES " files keep to the line"
  }
' FILES=${#files[@]} "${files[@]}"
status=$?
if [ -d analysis ]; then
  "${PYTHON:-python3}" -B "$here/analysis_layers.py" . || status=1
fi
exit $status
