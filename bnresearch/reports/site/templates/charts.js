// Draws the charts of a page, in the colors of the screen.
'use strict';

const dark = matchMedia('(prefers-color-scheme: dark)');

function config(room) {
  const of = getComputedStyle(document.documentElement);
  const ink = of.getPropertyValue('--soft').trim();
  const line = of.getPropertyValue('--line').trim();
  const font = getComputedStyle(document.body).fontFamily;
  const text = { labelColor: ink, titleColor: ink, titleFontWeight: 500 };
  return {
    font,
    axis: { ...text, gridColor: line, domainColor: line, tickColor: line },
    legend: { ...text, columns: room < 500 ? 2 : 5 },
    title: { color: ink, fontWeight: 600, anchor: 'start' },
    header: { ...text, labelFontWeight: 600, labelLimit: 240 },
    view: { stroke: null },
  };
}

// Panels that share the room there is: fewer side by side on a phone.
function fitted(spec, room) {
  if (!spec.facet || !room) return spec;
  const columns = Math.max(1, Math.min(spec.columns, Math.floor(room / 220)));
  const axes = spec.resolve?.scale ? 78 : 22 + 60 / columns;
  const width = Math.max(100, Math.floor(room / columns - axes));
  return { ...spec, columns, spec: { ...spec.spec, width } };
}

// A chart is drawn from its text, or from what its `make` returns.
async function draw(chart) {
  const spec = chart.make
    ? chart.make()
    : JSON.parse(document.getElementById(chart.dataset.spec).textContent);
  const options = {
    actions: false,
    renderer: spec.usermeta?.renderer || 'svg',
    config: config(chart.clientWidth),
    tooltip: { theme: dark.matches ? 'dark' : 'light' },
  };
  const { view } = await vegaEmbed(
    chart, fitted(spec, chart.clientWidth), options);
  // The table below it is for who cannot see it.
  const drawn = chart.querySelector('svg, canvas');
  drawn.removeAttribute('aria-roledescription');
  drawn.setAttribute('role', 'img');
  drawn.setAttribute('aria-label', chart.dataset.label);
  return view;
}

async function all() {
  for (const chart of document.querySelectorAll('.chart')) {
    await draw(chart);
    // Between two charts, the page answers.
    await new Promise((resolve) => { setTimeout(resolve); });
  }
  document.documentElement.dataset.drawn = '';
}

addEventListener('DOMContentLoaded', all);
dark.addEventListener('change', all);
