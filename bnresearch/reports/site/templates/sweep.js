// The charts of several runs, from the page's summary; the table's order.
'use strict';

{  // Vega's own names are everywhere else.

const all_of = JSON.parse(document.getElementById('summary').textContent);
const { knobs, metrics, points, settings, curves } = all_of;
const COLORS = ['#2e75b6', '#c0504d', '#3c8d5a', '#8a63b8', '#b7791f', '#4a9aa8'];
const ENDED = ['done', 'running'];
const AXES = 7; // knobs of the parallel coordinates

// What was chosen stays in the address, so that it can be sent, and survives
// when a page under --watch loads itself again.
const chosen = new URLSearchParams(location.hash.slice(1));

function fill(name, options, first) {
  const select = document.querySelector(`[name=${name}]`);
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  const values = options.map(([value]) => value);
  const wanted = chosen.get(name);
  select.value = values.includes(wanted) ? wanted : first;
  select.addEventListener('change', () => {
    chosen.set(name, select.value);
    history.replaceState(null, '', `#${chosen}`);
  });
  return select;
}

function scaleOf(values, numeric) {
  if (!numeric) return { type: 'nominal', sort: null };
  const known = values.filter((value) => value !== null);
  const low = Math.min(...known), high = Math.max(...known);
  const wide = low > 0 && high > 50 * low;
  return {
    type: 'quantitative',
    scale: { ...(wide ? { type: 'log' } : { zero: false }), padding: 16 },
    axis: { tickCount: 5, labelOverlap: true, grid: !wide, format: '.4~g' },
  };
}

// A knob or a metric by its place: 'knob 0', 'metric 2'.
function column(name) {
  const [kind, text] = name.split(' ');
  const place = Number(text);
  if (kind === 'metric') {
    return {
      title: metrics[place], numeric: true,
      of: (point) => point.metrics[place],
    };
  }
  const knob = knobs[place];
  return {
    title: knob.key, short: knob.short, numeric: knob.numeric,
    of: (point) => point.knobs[place],
  };
}

function encoded(field, { title, numeric, of }) {
  return { field, title, ...scaleOf(points.map(of), numeric) };
}

function colored(field, { title, numeric, of }, from = points, apart = COLORS.length) {
  const values = [...new Set(from.map(of).filter((value) => value !== null))];
  const few = !numeric || values.length <= apart;
  if (few) values.sort((a, b) => (numeric ? a - b : place(a) - place(b)));
  return {
    field, title,
    ...(few
      ? { type: 'nominal', scale: { domain: values, range: COLORS } }
      : { type: 'quantitative', scale: { ...scaleOf(values, true).scale, scheme: 'viridis', padding: 0 } }),
    legend: {
      orient: 'top', labelLimit: 220, titleLimit: 400, symbolOpacity: 1,
      gradientLength: 180, ...(!few && { type: 'gradient' }),
    },
  };
}

// Blue is with BN, red without, as everywhere.
function place(value) {
  return ['batch', 'none'].includes(value) ? ['batch', 'none'].indexOf(value) : 2;
}

function base(values, rest) {
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    data: { values }, background: null, width: 'container', ...rest,
  };
}

const every = [
  ...knobs.map((knob, k) => [`knob ${k}`, knob.key]),
  ...metrics.map((name, k) => [`metric ${k}`, name]),
];
const onlyKnobs = every.slice(0, knobs.length);
const onlyMetrics = every.slice(knobs.length);
const named = knobs.findIndex((knob) => knob.key === 'norm.name');
const inColor = named < 0
  ? (onlyKnobs.find(([, key]) => key !== 'seed') || ['setting'])[0]
  : `knob ${named}`;
const numbered = knobs.findIndex((knob) => knob.numeric && knob.key !== 'seed');

// Scatter.

const x = fill('x', every, numbered < 0 ? every[0]?.[0] : `knob ${numbered}`);
const y = fill('y', onlyMetrics, onlyMetrics[0]?.[0]);
const color = fill('color', [['', 'nothing'], ...every], inColor === 'setting' ? '' : inColor);

function scatter() {
  const across = column(x.value), up = column(y.value);
  const by = color.value ? column(color.value) : null;
  const rows = points.map((point) => ({
    x: across.of(point), y: up.of(point), c: by?.of(point),
    run: point.name, state: point.state, page: point.page,
    ended: ENDED.includes(point.state),
  })).filter((row) => row.x !== null && row.y !== null);
  const tooltip = [
    { field: 'run' }, { field: 'state' },
    { field: 'x', title: across.title }, { field: 'y', title: up.title },
  ];
  return base(rows, {
    height: 320,
    mark: { type: 'point', filled: true, size: 70, opacity: 0.75, cursor: 'pointer' },
    encoding: {
      x: encoded('x', across),
      y: encoded('y', up),
      shape: {
        field: 'ended', type: 'nominal', legend: null,
        scale: { domain: [true, false], range: ['circle', 'cross'] },
      },
      ...(by && { color: colored('c', by) }),
      tooltip,
    },
  });
}

// Parallel coordinates: each axis from 0 to 1, with the values beside it.

const metric = fill('metric', onlyMetrics, onlyMetrics[0]?.[0]);

function brief(value) {
  const text = String(value);
  return text.length > 18 ? `${text.slice(0, 17)}…` : text;
}

function axisOf({ title, short, numeric, of }) {
  const values = [...new Set(points.map(of).filter((value) => value !== null))];
  if (numeric) values.sort((a, b) => a - b);
  if (!numeric || (short && values.length <= 8)) {
    const last = Math.max(values.length - 1, 1);
    const at = (value) => (values.length === 1 ? 0.5 : values.indexOf(value) / last);
    return { title: short ?? title, of, at, ticks: values.slice(0, 12).map((v) => [at(v), brief(v)]) };
  }
  const low = values[0], high = values[values.length - 1];
  const at = (value) => (value - low) / (high - low || 1);
  const ticks = [low, (low + high) / 2, high].map((v) => [at(v), String(Number(v.toPrecision(4)))]);
  return { title: short ?? title, of, at, ticks };
}

function parallel() {
  const room = document.getElementById('chart-parallel').clientWidth;
  const end = column(metric.value);
  const some = knobs.map((knob, k) => [knob, `knob ${k}`])
    .filter(([knob]) => knob.key !== 'seed').slice(0, AXES);
  const axes = [...some.map(([, name]) => axisOf(column(name))), axisOf(end)];
  const titles = axes.map(({ title }, k) => `${k + 1}. ${title}`);
  const rows = points.flatMap((point, p) => axes.map((axis, k) => {
    const value = axis.of(point);
    return {
      p, axis: titles[k], run: point.name, c: end.of(point),
      at: value === null ? null : axis.at(value), value,
    };
  })).filter((row) => row.at !== null && row.c !== null);
  const ticks = axes.flatMap((axis, k) => axis.ticks.map(
    ([at, text]) => ({ axis: titles[k], at, text })));
  const across = {
    field: 'axis', type: 'ordinal', sort: null, title: null,
    scale: { domain: titles, type: 'point', padding: 0.4 },
    axis: {
      labelAngle: 0, labelLimit: room / axes.length - 6, grid: true, domain: false, ticks: false,
    },
  };
  const up = { field: 'at', type: 'quantitative', axis: null, scale: { domain: [-0.03, 1.03] } };
  const ink = getComputedStyle(document.documentElement).getPropertyValue('--ink').trim();
  const paper = getComputedStyle(document.documentElement).getPropertyValue('--paper').trim();
  const label = { type: 'text', align: 'left', dx: 6, fontSize: 11 };
  return base(rows, {
    height: 320,
    layer: [
      {
        mark: { type: 'line', opacity: 0.6, strokeWidth: 1.5, point: { size: 20 } },
        encoding: {
          x: across, y: up,
          detail: { field: 'p' },
          color: colored('c', end, points, 0),
          tooltip: [{ field: 'run' }, { field: 'axis' }, { field: 'value' }],
        },
      },
      {
        data: { values: ticks },
        mark: { ...label, stroke: paper, strokeWidth: 4, strokeJoin: 'round' },
        encoding: { x: across, y: up, text: { field: 'text' } },
      },
      {
        data: { values: ticks },
        mark: { ...label, color: ink },
        encoding: { x: across, y: up, text: { field: 'text' } },
      },
    ],
  });
}

// Curves.

const curveNames = Object.keys(curves);
const curve = fill('curve', curveNames.map((name) => [name, name]), curveNames[0]);
const curveColor = fill(
  'curvecolor', [['setting', 'setting'], ...onlyKnobs.filter(([, key]) => key !== 'seed')],
  settings.length > COLORS.length ? inColor : 'setting');
const steps = fill('steps', [['linear', 'linear'], ['symlog', 'logarithmic']], 'linear');
const firstOf = settings.map((_, k) => points.find((point) => point.setting === k));

function lines() {
  return curves[curve.value] || [];
}

function overlaid() {
  const by = curveColor.value === 'setting'
    ? { title: 'setting', numeric: false, of: (point) => settings[point.setting] }
    : column(curveColor.value);
  const rows = lines().flatMap(({ setting, x: at, y: middle, a, b }) => at.map((step, k) => ({
    x: step, y: middle[k], a: a ? a[k] : middle[k], b: b ? b[k] : middle[k],
    setting: settings[setting], s: setting, c: by.of(firstOf[setting]),
  }))).filter((row) => row.y !== null);
  const across = {
    field: 'x', type: 'quantitative', title: 'step',
    scale: { type: steps.value, nice: false }, axis: { format: '.3~s', labelOverlap: true, tickCount: 8 },
  };
  const up = { field: 'y', title: curve.value, ...scaleOf(rows.map((row) => row.y), true) };
  const shade = colored('c', by, firstOf);
  const bands = lines().length <= 12 && rows.some((row) => row.a < row.b);
  return base(rows, {
    height: 320,
    layer: [
      ...(bands ? [{
        mark: { type: 'area', opacity: 0.18 },
        encoding: {
          x: across, y: { ...up, field: 'a' }, y2: { field: 'b' },
          detail: { field: 's' }, color: shade,
        },
      }] : []),
      {
        mark: { type: 'line', strokeWidth: 1.6, opacity: 0.85 },
        encoding: {
          x: across, y: up, detail: { field: 's' }, color: shade,
          tooltip: [
            { field: 'setting' },
            { field: 'x', title: 'step', type: 'quantitative' },
            { field: 'y', title: curve.value, type: 'quantitative' },
          ],
        },
      },
    ],
  });
}

// Tables.

function cells(kind, texts) {
  return texts.map((text, k) => {
    const cell = document.createElement(k || kind === 'col' ? kind === 'col' ? 'th' : 'td' : 'th');
    if (cell.tagName === 'TH') cell.scope = kind === 'col' ? 'col' : 'row';
    const inner = document.createElement('bdi');
    inner.textContent = text;
    cell.append(inner);
    return cell;
  });
}

function table(element, heads, rows) {
  const head = element.createTHead(), body = document.createElement('tbody');
  element.replaceChildren(head, body);
  head.replaceChildren();
  head.insertRow().append(...cells('col', heads));
  for (const row of rows) body.insertRow().append(...cells('row', row));
}

function written(value) {
  if (value === null || value === undefined) return '–';
  return typeof value === 'number' ? String(Number(value.toPrecision(5))) : String(value);
}

const numbers = document.getElementById('numbers');

function tabulate() {
  if (!numbers.open) return;
  const at = [...new Set(lines().flatMap((line) => line.x))].sort((a, b) => a - b);
  const some = [...new Set(Array.from(
    { length: Math.min(12, at.length) },
    (_, k) => at[Math.round((k * (at.length - 1)) / Math.max(Math.min(12, at.length) - 1, 1))]))];
  table(
    numbers.querySelector('table'), ['step', ...some.map(String)],
    lines().map(({ setting, x: own, y: middle }) => [
      settings[setting], ...some.map((step) => written(middle[own.indexOf(step)])),
    ]));
}

const names = points.map((point, k) => [String(k), point.name]);
const one = fill('one', names, '0');
const other = fill('other', names, String(points.length - 1));

function compare() {
  const a = points[one.value], b = points[other.value];
  const pairs = [
    ...knobs.map((knob, k) => [knob.key, a.knobs[k], b.knobs[k]]).filter(([, p, q]) => p !== q),
    ...metrics.map((name, k) => [name, a.metrics[k], b.metrics[k]]),
  ];
  table(
    document.getElementById('beside'), ['knob or metric', a.name, b.name],
    [['state', a.state, b.state], ...pairs].map((row) => row.map(
      (cell, k) => (k ? written(cell) : cell))));
}

// The order of the points, and which are shown.

const body = document.querySelector('.points tbody');
const rows = [...body.rows];
const heads = [...document.querySelectorAll('.points thead th')];

function sortKey(cell) {
  const text = cell.dataset.sort ?? cell.textContent.trim();
  const value = Number(text);
  if (text === 'inf') return Infinity;
  return text === '' || Number.isNaN(value) ? text : value;
}

function order(a, b) {
  const numeric = [a, b].map((value) => typeof value === 'number');
  if (numeric[0] && numeric[1]) return a - b || 0;
  if (numeric[0] !== numeric[1]) return numeric[0] ? -1 : 1;
  return a.localeCompare(b, undefined, { numeric: true });
}

heads.forEach((head, k) => {
  head.querySelector('button').addEventListener('click', () => {
    const up = head.getAttribute('aria-sort') !== 'ascending';
    for (const each of heads) each.setAttribute('aria-sort', 'none');
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const keys = new Map(rows.map((row) => [row, sortKey(row.cells[k])]));
    body.append(...rows.toSorted(
      (a, b) => (up ? 1 : -1) * order(keys.get(a), keys.get(b))));
  });
});

const find = document.querySelector('[name=find]');
find.addEventListener('input', () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    // Its name and state; numbers would be found by accident.
    const text = `${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  document.querySelector('output').value = `${shown} of ${rows.length} runs`;
  document.querySelector('.empty').hidden = shown > 0;
});

for (const form of document.querySelectorAll('form')) {
  form.addEventListener('submit', (event) => event.preventDefault());
}

// Which control changes which chart.

function keep(id, make, controls, then = () => {}) {
  const chart = document.getElementById(id);
  chart.make = make;
  for (const control of controls) {
    control.addEventListener('change', async () => {
      then();
      await draw(chart);
    });
  }
}

if (onlyMetrics.length) {
  keep('chart-scatter', scatter, [x, y, color]);
  keep('chart-parallel', parallel, [metric]);
}
if (curveNames.length) keep('chart-curves', overlaid, [curve, curveColor, steps], tabulate);
for (const chart of document.querySelectorAll('.chart')) {
  if (chart.make) continue;
  chart.closest('section').classList.add('nothing');
  chart.remove();
}
numbers.addEventListener('toggle', tabulate);
document.getElementById('chart-scatter')?.addEventListener('click', (event) => {
  const datum = event.target.__data__?.datum;
  if (datum?.page) location.href = datum.page;
});
for (const control of [one, other]) control.addEventListener('change', compare);
compare();
}
