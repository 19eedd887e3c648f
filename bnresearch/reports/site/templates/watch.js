// Loads the page again once it has changed on disk, unless it is in use.
'use strict';

const page = decodeURIComponent(location.pathname.split('/').pop()) || 'index.html';
let first = null;

window.written = (digests) => {
  const now = digests[page];
  first ??= now;
  const busy = document.activeElement?.matches('input, select') || document.hidden;
  if (now && now !== first && !busy) location.reload();
};

setInterval(() => {
  const script = document.createElement('script');
  script.src = `assets/written.js?${Date.now()}`;
  script.onload = script.onerror = () => script.remove();
  document.body.append(script);
}, 5000);
