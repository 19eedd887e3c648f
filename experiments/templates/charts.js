// Draws the charts of a page, in the colors of the screen.
'use strict';

const dark = matchMedia('(prefers-color-scheme: dark)');

function config() {
  const of = getComputedStyle(document.documentElement);
  const ink = of.getPropertyValue('--soft').trim();
  const line = of.getPropertyValue('--line').trim();
  const font = getComputedStyle(document.body).fontFamily;
  const text = { labelColor: ink, titleColor: ink, titleFontWeight: 500 };
  return {
    font,
    axis: { ...text, gridColor: line, domainColor: line, tickColor: line },
    legend: text,
    header: { ...text, labelFontWeight: 600, labelLimit: 240 },
    view: { stroke: null },
  };
}

async function draw(chart) {
  const spec = JSON.parse(document.getElementById(chart.dataset.spec).textContent);
  const options = {
    actions: false,
    renderer: 'svg',
    config: config(),
    tooltip: { theme: dark.matches ? 'dark' : 'light' },
  };
  await vegaEmbed(chart, spec, options);
  // The table below it is for who cannot see it.
  const drawn = chart.querySelector('svg');
  drawn.removeAttribute('aria-roledescription');
  drawn.setAttribute('role', 'img');
  drawn.setAttribute('aria-label', chart.dataset.label);
}

async function all() {
  for (const chart of document.querySelectorAll('.chart')) await draw(chart);
  document.documentElement.dataset.drawn = '';
}

all();
dark.addEventListener('change', all);
