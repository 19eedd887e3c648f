// Copying, and printing of what is folded. Without it, pages show all the same.
'use strict';

document.documentElement.classList.add('live');
const said = document.getElementById('said');

function say(text) {
  said.textContent = '';
  requestAnimationFrame(() => { said.textContent = text; });
}

// A page from disk may have no clipboard: then the old way.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  await copy(button.dataset.copy);
  const words = button.textContent;
  button.textContent = 'Copied';
  button.disabled = true;
  say('Copied.');
  setTimeout(() => {
    button.textContent = words;
    button.disabled = false;
  }, 1200);
});

// Print shows what is folded on a screen.
const folded = new Set();
addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('details:not([open])')) {
    if (details.matches('.behind')) continue;
    details.open = true;
    folded.add(details);
  }
});
addEventListener('afterprint', () => {
  for (const details of folded) details.open = false;
  folded.clear();
});
