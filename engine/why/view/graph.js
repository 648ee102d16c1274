'use strict';
// makeGraph draws the graph of a build on a canvas: only what is in sight, so that thousands of
// steps can be moved. Where the steps are is in the data. host says what is chosen and what is
// filtered out, and is told what is picked.
const makeGraph = (canvas, build, size, host) => {
  const [WIDTH, HEIGHT, PITCH] = size, FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, monospace';
  const READABLE = 0.5, MOST = 3; // scales: below the first there is no text
  const ctx = canvas.getContext('2d'), steps = build.steps;
  let scale = 0, left = 0, top = 0; // what is at the upper left corner
  const colors = {};

  const lines = build.lines.map(([from, to, ...via]) => {
    const p = new Path2D(), a = steps[from], b = steps[to];
    let x = a.x, y = a.y + HEIGHT / 2;
    const curve = (toX, toY) => { const half = (y + toY) / 2; p.bezierCurveTo(x, half, toX, half, toX, toY); x = toX; y = toY; };
    p.moveTo(x, y);
    for (const v of via) { curve(v, y + PITCH - HEIGHT); y += HEIGHT; p.lineTo(x, y); }
    curve(b.x, b.y - HEIGHT / 2);
    const all = [a.x, b.x, ...via];
    return { from, to, p, left: Math.min(...all), right: Math.max(...all), top: a.y, bottom: b.y };
  });
  const together = new Path2D(); // all lines, for when they are too small to be told apart
  lines.forEach((l) => together.addPath(l.p));
  const joined = new Set(build.lines.map(([from, to]) => from + ' ' + to));
  const onPath = new Set();
  steps.map((_, i) => i).filter((i) => steps[i].critical).forEach((s, n, path) => onPath.add(path[n - 1] + ' ' + s));

  const fit = (text, n) => { const c = Array.from(text.slice(0, 4 * n)); return c.length > n ? c.slice(0, n - 1).join('') + '…' : text; };
  const titles = steps.map((s) => {
    const m = /^\[([^\]]*)\] (.*)$/s.exec(s.name);
    return m ? [m[1], m[2]] : ['', s.name];
  }).map(([which, does], i) => [fit(host.ending(steps[i]) + (which ? ' · ' + which : ''), 36), fit(does.replace(/\s+/g, ' '), 33)]);

  const width = () => canvas.clientWidth, height = () => canvas.clientHeight;

  function clamp() {
    const keep = (at, all, seen) => all < seen ? (all - seen) / 2 : Math.min(Math.max(at, -20), all - seen + 20);
    left = keep(left, build.width, width() / scale);
    top = keep(top, build.height, height() / scale);
  }

  // zoom keeps what is at a point of the canvas where it is.
  function zoom(by, x = width() / 2, y = height() / 2) {
    const to = Math.min(MOST, Math.max(Math.min(whole(), READABLE), scale * by));
    left += x / scale - x / to;
    top += y / scale - y / to;
    scale = to;
    clamp();
    draw();
  }

  const whole = () => Math.min(1, width() / (build.width + 40), height() / (build.height + 40));
  const showAll = () => { scale = whole(); clamp(); draw(); };

  function center(s) {
    left = steps[s].x - width() / scale / 2;
    top = steps[s].y - height() / scale / 2;
    clamp();
  }

  // see brings a step into sight.
  function see(s) {
    if (!width()) return;
    if (!scale) { scale = Math.max(whole(), 0.7); left = (build.width - width() / scale) / 2; if (s >= 0) center(s); clamp(); }
    if (s >= 0) {
      const x = (steps[s].x - left) * scale, y = (steps[s].y - top) * scale, w = WIDTH * scale / 2, h = HEIGHT * scale / 2;
      if (x < w || y < h || x > width() - w || y > height() - h) center(s);
    }
    draw();
  }

  function readColors() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ['bg', 'fg', 'dim', 'line', 'soft', 'pick', 'link', 'critical', 'executed', 'cached', 'shared', 'failed', 'canceled', 'none']) colors[name] = style.getPropertyValue('--' + name).trim();
  }

  // strokes draws the lines that are in sight: those of the critical path over others, those of
  // the chosen step over all.
  function strokes(chosen, seen) {
    const line = (l, color, width) => {
      ctx.globalAlpha = host.hidden(l.from) || host.hidden(l.to) ? 0.2 : 1;
      ctx.strokeStyle = color;
      ctx.lineWidth = Math.max(width, 0.6 / scale);
      ctx.stroke(l.p);
    };
    const inSight = lines.filter(seen);
    if (scale < READABLE) {
      ctx.globalAlpha = 0.6;
      ctx.strokeStyle = colors.dim;
      ctx.lineWidth = 0.5 / scale;
      ctx.stroke(together);
    } else {
      inSight.forEach((l) => line(l, colors.dim, 1));
    }
    inSight.filter((l) => onPath.has(l.from + ' ' + l.to)).forEach((l) => line(l, colors.critical, 3));
    inSight.filter((l) => l.from === chosen || l.to === chosen).forEach((l) => line(l, colors.link, 3));
  }

  // unjoined draws what is left out of the lines: from sources that many steps read. Too many
  // of them would hide the rest.
  function unjoined(chosen) {
    const out = [...(steps[chosen].inputs || []).map((i) => [i, chosen]), ...host.uses(chosen).map((i) => [chosen, i])].filter(([from, to]) => !joined.has(from + ' ' + to));
    if (out.length > 30) return;
    const one = (from, to) => {
      const a = steps[from], b = steps[to], y = a.y + HEIGHT / 2, toY = b.y - HEIGHT / 2, half = (y + toY) / 2;
      ctx.beginPath();
      ctx.moveTo(a.x, y);
      ctx.bezierCurveTo(a.x, half, b.x, half, b.x, toY);
      ctx.stroke();
    };
    ctx.globalAlpha = 1;
    ctx.strokeStyle = colors.link;
    ctx.lineWidth = Math.max(1.5, 1 / scale);
    ctx.setLineDash([6, 5]);
    out.forEach(([from, to]) => one(from, to));
    ctx.setLineDash([]);
  }

  function box(i, chosen) {
    const s = steps[i], x = s.x - WIDTH / 2, y = s.y - HEIGHT / 2, tint = colors[host.tint(s)], text = scale >= READABLE;
    ctx.globalAlpha = host.hidden(i) ? 0.25 : 1;
    ctx.fillStyle = text ? (i === chosen ? colors.pick : s.outcome === 'not needed' ? colors.soft : colors.bg) : tint;
    ctx.strokeStyle = i === chosen ? colors.link : s.critical ? colors.critical : tint;
    if (!text && i !== chosen && !s.critical) { ctx.fillRect(x, y, WIDTH, HEIGHT); return; }
    ctx.lineWidth = i === chosen || s.critical ? Math.max(2.5, 2 / scale) : 1;
    ctx.beginPath();
    ctx.roundRect(x, y, WIDTH, HEIGHT, 5);
    ctx.fill();
    ctx.stroke();
    if (!text) return;
    ctx.fillStyle = tint;
    ctx.fillRect(x, y + 5, 4, HEIGHT - 10);
    ctx.font = '10px ' + FONT;
    ctx.fillText(titles[i][0], x + 10, y + 16, WIDTH - 16);
    ctx.fillStyle = colors.fg;
    ctx.font = '11px ' + FONT;
    ctx.fillText(titles[i][1], x + 10, y + 32, WIDTH - 16);
  }

  let asked = false;
  const draw = () => { if (!asked) { asked = true; requestAnimationFrame(paint); } };

  function paint() {
    asked = false;
    if (!width() || !scale) return;
    const dots = window.devicePixelRatio || 1, right = left + width() / scale, bottom = top + height() / scale, chosen = host.chosen();
    const w = Math.round(width() * dots), h = Math.round(height() * dots);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, w, h);
    ctx.setTransform(scale * dots, 0, 0, scale * dots, -left * scale * dots, -top * scale * dots);
    ctx.direction = 'ltr';
    strokes(chosen, (l) => l.right >= left && l.left <= right && l.bottom >= top && l.top <= bottom);
    if (chosen >= 0) unjoined(chosen);
    steps.forEach((s, i) => {
      if (s.x + WIDTH / 2 >= left && s.x - WIDTH / 2 <= right && s.y + HEIGHT / 2 >= top && s.y - HEIGHT / 2 <= bottom) box(i, chosen);
    });
  }

  const at = (e) => {
    const r = canvas.getBoundingClientRect(), x = left + (e.clientX - r.left) / scale, y = top + (e.clientY - r.top) / scale;
    return steps.findIndex((s) => Math.abs(s.x - x) <= WIDTH / 2 && Math.abs(s.y - y) <= HEIGHT / 2);
  };
  // nearest is the one of some steps that is nearest to a step from left to right.
  const nearest = (s, others) => others.reduce((best, o) => best < 0 || Math.abs(steps[o].x - steps[s].x) < Math.abs(steps[best].x - steps[s].x) ? o : best, -1);

  // key moves along the lines, and says whether it has done something.
  function key(name) {
    const s = host.chosen();
    const beside = (by) => nearest(s, steps.map((_, i) => i).filter((i) => steps[i].y === steps[s].y && (steps[i].x - steps[s].x) * by > 0));
    const does = {
      '+': () => zoom(1.3), '=': () => zoom(1.3), '-': () => zoom(1 / 1.3), '0': showAll,
      'ArrowUp': () => go(nearest(s, steps[s].inputs || [])), 'ArrowDown': () => go(nearest(s, host.uses(s))),
      'ArrowLeft': () => go(beside(-1)), 'ArrowRight': () => go(beside(1)),
    }[name];
    const go = (to) => { if (to >= 0) host.pick(to); };
    if (!does || (s < 0 && name.startsWith('Arrow'))) return false;
    does();
    return true;
  }

  let down = null; // where a pointer went down
  canvas.addEventListener('pointerdown', (e) => { if (e.button === 0) { down = { x: e.clientX, y: e.clientY, left, top, moved: false }; canvas.setPointerCapture(e.pointerId); } });
  canvas.addEventListener('pointermove', (e) => {
    if (!down) { const s = at(e); canvas.style.cursor = s >= 0 ? 'pointer' : 'grab'; canvas.title = s >= 0 ? steps[s].name : ''; return; }
    if (Math.hypot(e.clientX - down.x, e.clientY - down.y) > 4) down.moved = true;
    if (!down.moved) return;
    left = down.left - (e.clientX - down.x) / scale;
    top = down.top - (e.clientY - down.y) / scale;
    clamp();
    draw();
  });
  canvas.addEventListener('pointerup', (e) => {
    const s = down && !down.moved ? at(e) : -1;
    down = null;
    if (s >= 0) host.pick(s);
  });
  canvas.addEventListener('pointercancel', () => { down = null; });
  canvas.addEventListener('wheel', (e) => {
    e.preventDefault();
    const r = canvas.getBoundingClientRect();
    if (e.ctrlKey || e.metaKey) { zoom(Math.exp(-e.deltaY / 300), e.clientX - r.left, e.clientY - r.top); return; }
    const unit = e.deltaMode === 1 ? 30 : 1;
    left += (e.shiftKey ? e.deltaY : e.deltaX) * unit / scale;
    top += (e.shiftKey ? 0 : e.deltaY) * unit / scale;
    clamp();
    draw();
  }, { passive: false });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { readColors(); draw(); });
  readColors();
  return { see, zoom, showAll, key, resized: () => { if (scale) { clamp(); draw(); } } };
};
