// Filters and sorting. Without it the page shows all rows.
'use strict';

function plain(text) {
  return text.toLowerCase().replace(/\s+/g, ' ');
}

// Words to find; the number of a figure belongs to its word.
function wanted(text) {
  const terms = /(?:figure|section|table|algorithm) [\d.]+|\S+/g;
  return plain(text).match(terms) || [];
}

// Says whether a text has a word; a number is not found inside another one.
function has(text, word) {
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    const end = at + word.length;
    const ends = [text.slice(Math.max(at - 1, 0), at + 1), text.slice(end - 1, end + 1)];
    if (!ends.some((pair) => /^\d\d/.test(pair))) return true;
  }
  return false;
}

const form = document.querySelector('form.tools');
if (form) {
  const body = document.querySelector('.board tbody');
  const rows = [...body.rows];
  const texts = new Map(
    rows.map((row) => [row, plain(row.textContent)]));
  const place = new Map(rows.map((row, k) => [row, k]));
  const sorts = {
    paper: (a, b) => a.dataset.paper.localeCompare(b.dataset.paper),
    room: (a, b) => a.dataset.room.localeCompare(b.dataset.room),
    verdict: (a, b) => a.dataset.order - b.dataset.order,
    seeds: (a, b) => b.dataset.seeds - a.dataset.seeds,
    date: (a, b) => b.dataset.date.localeCompare(a.dataset.date),
  };
  const chips = [...document.querySelectorAll('.chip')];

  const update = () => {
    const { find, paper, verdict, room, sort } =
      Object.fromEntries(new FormData(form));
    const words = wanted(find);
    let shown = 0;
    for (const row of rows) {
      const is = row.dataset;
      row.hidden =
        (paper && !is.paper.split('|').includes(paper)) ||
        (verdict && is.verdict !== verdict) || (room && is.room !== room) ||
        !words.every((word) => has(texts.get(row), word));
      shown += !row.hidden;
    }
    const by = sorts[sort] || (() => 0);
    body.append(...rows.toSorted(
      (a, b) => by(a, b) || place.get(a) - place.get(b)));
    form.querySelector('output').value =
      `${shown} of ${rows.length} claims`;
    document.querySelector('.empty').hidden = shown > 0;
    for (const chip of chips) {
      chip.setAttribute('aria-pressed', chip.dataset.verdict === verdict);
    }
  };

  form.addEventListener('input', update);
  form.addEventListener('submit', (event) => event.preventDefault());
  for (const button of document.querySelectorAll('[data-reset]')) {
    button.addEventListener('click', () => {
      form.reset();
      update();
    });
  }
  for (const chip of chips) {
    chip.addEventListener('click', () => {
      const { verdict } = form.elements;
      const same = verdict.value === chip.dataset.verdict;
      verdict.value = same ? '' : chip.dataset.verdict;
      update();
      document.getElementById('claims').scrollIntoView();
    });
  }
  update();
}
