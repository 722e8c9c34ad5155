// Tables are whole without this: it makes the headings of sortable ones into buttons.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const key = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = Number.parseFloat(text.replace("−", "-"));
    return [text, Number.isNaN(number) ? null : number];
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rows = [...table.tBodies[0].rows];
      const numeric = head.classList.contains("n");
      const up = head.getAttribute("aria-sort") !== "ascending";
      rows.sort((a, b) => {
        const [textA, numberA] = key(a, column), [textB, numberB] = key(b, column);
        if (!numeric) return (up ? 1 : -1) * textA.localeCompare(textB);
        // What is not available comes last, whichever way.
        if (numberA === null || numberB === null) return (numberA === null) - (numberB === null);
        return (up ? 1 : -1) * (numberA - numberB);
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      table.tBodies[0].append(...rows);
    });
  });
}
