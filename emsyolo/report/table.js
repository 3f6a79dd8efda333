// Tables that are sorted by the column whose head is pressed; pressed again, the other way round.
function buildTables() {
  for (const table of all("table")) {
    const heads = all("th", table), body = one("tbody", table);
    heads.forEach((head, column) => one("button", head).addEventListener("click", () => {
      const first = cell(body.rows[0], column).number === null ? "ascending" : "descending";
      const other = {ascending: "descending", descending: "ascending"};
      const order = other[head.getAttribute("aria-sort")] || first;
      for (const each of heads) each.setAttribute("aria-sort", each === head ? order : "none");
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows].map(row => [row, cell(row, column)]);
      rows.sort(([, a], [, b]) => a.empty - b.empty || sign * compared(a, b));
      body.append(...rows.map(([row]) => row));
    }));
  }
}
function cell(row, column) {
  const td = row ? row.cells[column] : make("td"), value = td.dataset.value;
  return {text: td.textContent, number: value === undefined ? null : +value, empty: +(td.textContent === "-")};
}
function compared(a, b) {
  if (a.number !== null && b.number !== null) return a.number - b.number;
  return a.text.localeCompare(b.text, undefined, {numeric: true});
}
