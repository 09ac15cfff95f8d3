"use strict";
// Tables sort by a click on a heading: upwards, downwards, back to the order they came in. Folds open for the printer.
(function () {
  const words = new Intl.Collator("en", { numeric: true });

  // What a row is sorted by; null: not known, last whichever way.
  function key(row, column, isNumber) {
    const cell = row.cells[column];
    const text = "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
    if (!isNumber) return text === "" ? null : text;
    const value = text === "" ? NaN : Number(text);
    return Number.isNaN(value) ? null : value;
  }

  function sort(rows, column, isNumber, sign) {
    const keys = new Map(rows.map((row) => [row, key(row, column, isNumber)]));
    return rows.slice().sort(function (one, other) {
      const a = keys.get(one), b = keys.get(other);
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (isNumber ? (a > b) - (a < b) : words.compare(a, b)); // equal ones keep their order
    });
  }

  function prepare(table) {
    const heads = Array.from(table.tHead.rows[0].cells);
    const body = table.tBodies[0];
    const original = Array.from(body.rows);
    heads.forEach(function (head, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", function () {
        const next = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        if (next) head.setAttribute("aria-sort", next);
        body.append(...(next ? sort(original, column, head.classList.contains("n"), next === "ascending" ? 1 : -1) : original));
      });
    });
  }
  document.querySelectorAll("table.sortable").forEach(prepare);

  // A link into a closed fold opens it.
  function reveal() {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    for (let fold = target && target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (target) target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  reveal();

  let opened = [];
  addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (fold) { fold.open = true; });
  });
  addEventListener("afterprint", function () {
    opened.forEach(function (fold) { fold.open = false; });
    opened = [];
  });
})();
