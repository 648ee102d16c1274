// Everything that is shown becomes text (textContent, or a text node): nothing in the data is
// ever markup, a style or an address.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const builds = data.builds, two = builds.length === 2;
  const $ = (id) => document.getElementById(id);
  const HEIGHT = 26, MARGIN = 10;
  // An outcome has a sign and a word, and not a color alone.
  const WORDS = {
    'executed': ['▶', 'executed'], 'cached': ['✓', 'cached'], 'shared': ['⇄', 'shared'],
    'not needed': ['–', 'none'], 'failed': ['✗', 'failed'], 'canceled': ['■', 'canceled'],
  };

  const el = (tag, cls, ...children) => {
    const e = document.createElement(tag);
    if (cls) e.className = cls;
    e.append(...children.filter((c) => c !== null && c !== undefined));
    return e;
  };
  const seconds = (s) => s < 60 ? s.toFixed(s < 1 ? 2 : 1) + ' s' : Math.floor(s / 60) + ' min ' + Math.round(s % 60) + ' s';
  const wordOf = (o) => el('span', 'word ' + WORDS[o][1], WORDS[o][0], el('span', 'long', ' ' + o));
  // What a terminal would not show: its commands, and titles of windows.
  const plain = (text) => text.replace(/\x1b\][^\x07\x1b]*(\x07|\x1b\\)/g, '').replace(/\x1b\[[0-9;?]*[ -\/]*[@-~]/g, '').replace(/\r\n?/g, '\n');
  const side = (b) => two ? (b === 0 ? 'A' : 'B') : '';

  // Rows: what is of either build. uses are the steps that stand on one.
  const rowOf = builds.map((b) => new Int32Array(b.steps.length).fill(-1));
  data.rows.forEach((r, n) => r.forEach((s, b) => { if (s >= 0) rowOf[b][s] = n; }));
  const uses = builds.map((b) => {
    const out = b.steps.map(() => []);
    b.steps.forEach((s, i) => (s.inputs || []).forEach((j) => out[j].push(i)));
    return out;
  });
  const mainOf = (n) => { const b = data.rows[n][0] >= 0 ? 0 : 1; return [b, data.rows[n][b]]; };
  const stepOf = (n) => { const [b, s] = mainOf(n); return builds[b].steps[s]; };
  const textOf = [];
  const wordsOf = (step) => [step.name, step.place, step.ending, step.log, ...(step.facts || []).flatMap((f) => [f.name, f.value]),
    ...(step.causes || []).map((c) => c.text)];
  const searched = (n) => textOf[n] ??= builds.flatMap((b, i) => data.rows[n][i] >= 0 ? wordsOf(b.steps[data.rows[n][i]]) : []).join('\n').toLowerCase();

  // A digest has every short word by chance.
  const has = (n, w) => searched(n).includes(w) || (w.length > 6 && stepOf(n).digest.includes(w));

  let shown = [], at = -1; // rows that are shown, and which of them is chosen
  const hidden = new Set();
  let pathOnly = false;
  let view = -1; // whose graph is shown; -1 is the list
  const end = Math.max(0.001, ...builds.map((b) => b.steps.reduce((m, s) => s.timed ? Math.max(m, s.to) : m, b.took)));

  function head() {
    builds.forEach((b, i) => {
      const box = el('div', '', el('p', '', el('h1', '', (two ? side(i) + ': ' : '') + 'Build ' + b.ref.slice(0, 12)), ' ',
        el('span', b.error ? 'failed' : 'cached', b.error ? '✗ failed' : '✓ completed'), ' in ' + seconds(b.took) + ', ' + new Date(b.begun).toLocaleString()));
      const counts = Object.keys(WORDS).filter((o) => b.counts[o]).map((o) => el('span', WORDS[o][1], WORDS[o][0] + ' ' + b.counts[o] + ' ' + o));
      if (counts.length) counts.push(el('span', 'dim', '(sources not counted)'));
      const path = b.steps.filter((s) => s.critical);
      if (path.length) counts.push(el('span', '', el('span', 'pink', '◆ critical path'), ': ' + path.length + (path.length === 1 ? ' step, ' : ' steps, ') + seconds(path.reduce((n, s) => n + s.to - s.from, 0))));
      box.append(el('p', 'counts', ...counts));
      if (b.command) box.append(el('div', 'mono dim', b.command.join(' ')));
      if (b.revision) box.append(el('p', 'dim', 'revision ' + b.revision + (b.dirty ? ', with changes' : '')));
      if (b.error) box.append(el('p', 'bad', b.error));
      if (b.omitted) box.append(el('p', 'bad', b.omitted + ' more steps are not kept'));
      (b.caches || []).filter((c) => c.error).forEach((c) => box.append(el('p', 'bad', 'cache ' + c.name + ' was not read: ' + c.error)));
      $('head').append(box);
    });
    document.title = 'Tenon: ' + builds.map((b) => b.ref.slice(0, 12)).join(' and ');
  }

  const linkTo = (b, s, text) => {
    const a = el('a', '', text ?? builds[b].steps[s].name);
    a.href = '#'; // so that keys reach it
    a.addEventListener('click', (e) => { e.preventDefault(); reveal(rowOf[b][s]); });
    return a;
  };
  const files = (c) => {
    const list = el('ul', 'mono', ...(c.files || []).map((f) => el('li', '', f)));
    if (c.more) list.append(el('li', 'dim', 'and ' + c.more + ' more'));
    return list;
  };

  function causes() {
    builds.forEach((b, i) => {
      const box = el('div');
      $('causes').append(box);
      box.append(el('h2', '', (two ? side(i) + ': ' : '') + (b.causes.length ? 'Why steps ran' : 'No step ran')));
      if (b.compared) box.append(el('p', 'dim', 'compared with ' + b.compared.map((r) => r.slice(0, 12)).join(', ')));
      b.causes.forEach((c) => {
        const n = (c.steps || []).length + (c.followed || []).length + (c.moreRan || 0);
        const d = el('details', '', el('summary', '', el('span', 'dim', n + (n === 1 ? ' step, ' : ' steps, ') + seconds(c.took || 0)), c.text));
        d.addEventListener('toggle', () => { // what is in it is made when it is first opened
          if (d.children.length > 1) return;
          if (c.files) d.append(files(c));
          const list = el('ul');
          (c.steps || []).forEach((s) => list.append(el('li', '', linkTo(i, s))));
          (c.followed || []).forEach((s) => list.append(el('li', '', el('span', 'dim', 'then '), linkTo(i, s))));
          if (c.moreRan) list.append(el('li', 'dim', 'and ' + c.moreRan + ' more'));
          d.append(list);
        });
        box.append(d);
      });
    });
  }

  function chips() {
    const counts = {};
    data.rows.forEach((_, n) => { const o = stepOf(n).outcome; counts[o] = (counts[o] || 0) + 1; });
    Object.keys(WORDS).filter((o) => counts[o]).forEach((o) => {
      const b = el('button', WORDS[o][1], WORDS[o][0] + ' ' + o + ' ' + counts[o]);
      b.type = 'button';
      b.setAttribute('aria-pressed', 'true');
      b.addEventListener('click', () => {
        hidden.has(o) ? hidden.delete(o) : hidden.add(o);
        b.setAttribute('aria-pressed', String(!hidden.has(o)));
        filter();
      });
      $('outcomes').append(b);
    });
    const path = el('button', 'pink', '◆ critical path');
    path.id = 'path';
    path.type = 'button';
    path.title = 'Only the chain of steps that took longest';
    path.setAttribute('aria-pressed', 'false');
    path.addEventListener('click', () => { pathOnly = !pathOnly; path.setAttribute('aria-pressed', String(pathOnly)); filter(); });
    $('outcomes').append(path);
  }

  // Graphs: one for each build, made when it is first shown.
  const graphs = [];
  const notPassed = []; // rows that the filter leaves out
  function graph(b) {
    if (graphs[b]) return graphs[b];
    const canvas = el('canvas');
    canvas.tabIndex = 0;
    canvas.setAttribute('role', 'img');
    $('graphs').prepend(canvas);
    const g = makeGraph(canvas, builds[b], data.size, {
      chosen: () => at < 0 ? -1 : data.rows[shown[at]][b],
      hidden: (s) => notPassed[rowOf[b][s]],
      tint: (s) => WORDS[s.outcome][1],
      ending: (s) => WORDS[s.outcome][0] + ' ' + s.outcome + (s.timed ? ', ' + seconds(s.to - s.from) : ''),
      uses: (s) => uses[b][s],
      pick: (s) => reveal(rowOf[b][s]),
    });
    return graphs[b] = { canvas, ...g };
  }

  function show(v) {
    view = v;
    $('views').querySelectorAll('button').forEach((b, i) => b.setAttribute('aria-pressed', String(i === v + 1)));
    $('axis').hidden = $('list').hidden = v >= 0;
    $('graphs').hidden = v < 0;
    if (v >= 0) graph(v);
    graphs.forEach((g, b) => { g.canvas.hidden = b !== v; });
    scrollTo();
    draw();
    home();
  }
  // home is where the keys go that choose steps.
  const home = () => (view < 0 ? $('list') : graphs[view].canvas).focus({ preventScroll: true });

  function views() {
    ['List', ...builds.map((_, b) => two ? 'Graph ' + side(b) : 'Graph')].forEach((name, i) => {
      const b = el('button', '', name);
      b.type = 'button';
      b.addEventListener('click', () => show(i - 1));
      $('views').append(b);
    });
  }

  function filter() {
    const chosen = at >= 0 ? shown[at] : -1;
    const words = $('search').value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = [];
    data.rows.forEach((_, n) => {
      const passes = !hidden.has(stepOf(n).outcome) && (!pathOnly || stepOf(n).critical) && words.every((w) => has(n, w));
      notPassed[n] = !passes;
      if (passes) shown.push(n);
    });
    const order = $('order').value, took = (s) => s.timed ? s.to - s.from : -1;
    if (order === 'begun') shown.sort((a, b) => (stepOf(a).timed ? stepOf(a).from : Infinity) - (stepOf(b).timed ? stepOf(b).from : Infinity) || a - b);
    if (order === 'took') shown.sort((a, b) => took(stepOf(b)) - took(stepOf(a)) || a - b);
    $('found').textContent = shown.length === data.rows.length ? shown.length + ' steps' : shown.length + ' of ' + data.rows.length + ' steps';
    $('rows').style.height = shown.length * HEIGHT + 'px';
    at = shown.indexOf(chosen);
    if (at < 0 && shown.length) at = 0;
    detail();
    scrollTo();
    draw();
  }

  function bar(b, s) {
    const step = builds[b].steps[s], i = el('i', WORDS[step.outcome][1]);
    i.style.left = 100 * step.from / end + '%';
    i.style.width = 100 * (step.to - step.from) / end + '%';
    i.title = side(b) + ' ' + seconds(step.from) + ' to ' + seconds(step.to);
    return i;
  }

  function makeRow(k, marks) {
    const n = shown[k], pair = data.rows[n], step = stepOf(n);
    const r = el('div', 'row' + (step.critical ? ' critical' : ''), el('span', 'mark', marks.get(n) || (step.critical ? el('span', 'pink', '◆') : '')));
    builds.forEach((b, i) => r.append(pair[i] >= 0 ? wordOf(b.steps[pair[i]].outcome) : el('span', 'word none', '· not in ' + side(i))));
    const name = el('span', 'name', step.name);
    name.title = step.name;
    r.append(name);
    builds.forEach((b, i) => {
      const s = b.steps[pair[i]];
      r.append(el('span', 'time', s && s.timed ? seconds(s.to - s.from) : ''));
    });
    const line = el('span', 'line');
    builds.forEach((b, i) => { if (pair[i] >= 0 && b.steps[pair[i]].timed) line.append(bar(i, pair[i])); });
    r.append(line);
    r.id = 'row' + k;
    r.style.top = k * HEIGHT + 'px';
    r.setAttribute('role', 'option');
    r.setAttribute('aria-selected', String(k === at));
    r.setAttribute('aria-posinset', String(k + 1));
    r.setAttribute('aria-setsize', String(shown.length));
    if (step.critical) r.setAttribute('aria-description', 'on the critical path');
    r.addEventListener('click', () => choose(k));
    return r;
  }

  // draw makes the rows that are in sight, and no others.
  function draw() {
    if (view >= 0) {
      const [b, s] = at < 0 ? [view, -1] : [view, data.rows[shown[at]][view]];
      graphs[b].canvas.setAttribute('aria-label', 'Graph of the steps' + (s < 0 ? '' : '; chosen is ' + builds[b].steps[s].name));
      graphs[b].see(s);
      return;
    }
    const list = $('list'), marks = new Map();
    if (at >= 0) {
      const [b, s] = mainOf(shown[at]);
      (builds[b].steps[s].inputs || []).forEach((i) => marks.set(rowOf[b][i], '↑'));
      uses[b][s].forEach((i) => marks.set(rowOf[b][i], '↓'));
    }
    const from = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - MARGIN);
    const to = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + MARGIN);
    const rows = [];
    for (let k = from; k < to; k++) rows.push(makeRow(k, marks));
    $('rows').replaceChildren(...rows);
    if (at >= 0) list.setAttribute('aria-activedescendant', 'row' + at); else list.removeAttribute('aria-activedescendant');
    axis();
  }

  // axis has times above the bars.
  function axis() {
    const line = document.querySelector('.row .line'), a = $('axis');
    a.replaceChildren();
    if (!line) return;
    const left = line.getBoundingClientRect().left - a.getBoundingClientRect().left, width = line.clientWidth;
    const steps = [1, 2, 5], most = Math.max(1, Math.floor(width / 60));
    let unit = 0.001;
    for (let i = 0; end / unit > most; i++) unit = steps[i % 3] * Math.pow(10, Math.floor(i / 3) - 3);
    for (let t = 0; width * t / end < width - 30; t += unit) {
      const s = el('span', '', t === 0 ? '0' : unit < 1 ? t.toFixed(unit < 0.01 ? 3 : 2) + ' s' : seconds(t));
      s.style.left = left + width * t / end + 'px';
      a.append(s);
    }
  }

  function highlighted(text) {
    const words = $('search').value.toLowerCase().split(/\s+/).filter(Boolean), out = document.createDocumentFragment(), low = text.toLowerCase();
    if (!words.length || low.length !== text.length) { out.append(text); return out; }
    let from = 0, marks = 0;
    for (;;) {
      let next = -1, len = 0;
      for (const w of words) {
        const i = low.indexOf(w, from);
        if (i >= 0 && (next < 0 || i < next)) { next = i; len = w.length; }
      }
      if (next < 0 || marks++ === 200) break;
      out.append(text.slice(from, next), el('mark', '', text.slice(next, next + len)));
      from = next + len;
    }
    out.append(text.slice(from));
    return out;
  }

  function links(b, title, list) {
    if (!list.length) return [];
    const ul = el('ul', '', ...list.slice(0, 50).map((s) => el('li', '', wordOf(builds[b].steps[s].outcome), ' ', linkTo(b, s))));
    if (list.length > 50) ul.append(el('li', 'dim', 'and ' + (list.length - 50) + ' more'));
    return [el('h3', '', title), ul];
  }

  function describe(b, s) {
    const box = el('div');
    if (two) box.append(el('h3', '', 'Build ' + side(b)));
    if (s < 0) { box.append(el('p', 'dim', 'has no such step')); return box; }
    const step = builds[b].steps[s];
    box.append(el('h2', '', highlighted(step.name)));
    box.append(el('p', '', wordOf(step.outcome), step.critical ? el('span', 'pink', ' ◆ critical path') : null, step.place ? el('span', 'dim', '  ' + step.place) : null));
    box.append(el('p', step.error ? 'bad' : '', step.ending));
    if (step.timed) box.append(el('p', 'dim', 'from ' + seconds(step.from) + ' to ' + seconds(step.to)));
    if (step.causes || step.roots) {
      box.append(el('h3', '', 'Why it ran' + (step.baseline ? ', compared with ' + step.baseline.slice(0, 12) : '')));
      (step.causes || []).forEach((c) => { box.append(el('p', '', highlighted(c.text))); if (c.files) box.append(files(c)); });
      if (step.roots) box.append(el('p', 'dim', 'It began with'), el('ul', '', ...step.roots.map((r) => el('li', '', linkTo(b, r.step), ': ' + r.text))));
    }
    box.append(el('h3', '', 'Log' + (step.cut ? ' (its end; tenon history logs has all)' : '')));
    box.append(step.log ? el('pre', '', highlighted(plain(step.log))) : el('p', 'dim', 'it has written nothing'));
    box.append(...links(b, '↑ stands on', step.inputs || []), ...links(b, '↓ is used by', uses[b][s]));
    if (step.facts) box.append(el('h3', '', 'What it was told'), el('dl', 'mono', ...step.facts.flatMap((f) => [el('dt', '', f.kind + (f.name ? ' ' + f.name : '')), el('dd', '', highlighted(f.value))])));
    box.append(el('h3', '', 'Digest'), el('p', 'mono dim', step.digest));
    return box;
  }

  function detail() {
    const d = $('detail');
    d.className = two ? 'both' : '';
    d.scrollTop = 0;
    if (at < 0) { d.replaceChildren(el('p', 'dim', 'No step is shown.')); return; }
    d.replaceChildren(...builds.map((_, b) => describe(b, data.rows[shown[at]][b])));
  }

  function scrollTo() {
    if (view >= 0) return;
    const list = $('list'), top = at * HEIGHT;
    if (at < 0) return;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
  }

  function choose(k) {
    if (!shown.length) return;
    at = Math.min(Math.max(k, 0), shown.length - 1);
    detail();
    scrollTo();
    draw();
  }

  // reveal chooses a row, also where a filter hides it.
  function reveal(n) {
    if (n < 0) return;
    if (!shown.includes(n)) {
      $('search').value = '';
      hidden.clear();
      pathOnly = false;
      document.querySelectorAll('#outcomes button').forEach((b) => b.setAttribute('aria-pressed', String(b.id !== 'path')));
      filter();
    }
    choose(shown.indexOf(n));
  }

  function critical(by) {
    for (let k = at + by; k >= 0 && k < shown.length; k += by) if (stepOf(shown[k]).critical) return choose(k);
  }

  function key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || $('help').open) return;
    const inSearch = e.target === $('search');
    if (e.key === 'Escape') {
      if (inSearch && $('search').value) { $('search').value = ''; filter(); } else home();
    } else if (inSearch) {
      if (e.key === 'Enter' || e.key === 'ArrowDown') home(); else return;
    } else if (['SELECT', 'INPUT'].includes(e.target.tagName) || (e.key === 'Enter' && ['BUTTON', 'SUMMARY', 'A'].includes(e.target.tagName))) {
      return;
    } else if ($('detail').contains(e.target) && e.key.startsWith('Arrow')) {
      return; // it scrolls
    } else if (view >= 0 && graphs[view].key(e.key)) {
      // it has moved along a line
    } else {
      const does = {
        'j': () => choose(at + 1), 'ArrowDown': () => choose(at + 1), 'k': () => choose(at - 1), 'ArrowUp': () => choose(at - 1),
        'PageDown': () => choose(at + 20), 'PageUp': () => choose(at - 20), 'g': () => choose(0), 'Home': () => choose(0),
        'G': () => choose(shown.length - 1), 'End': () => choose(shown.length - 1), 'n': () => critical(1), 'p': () => critical(-1),
        'v': () => show((view + 2) % (builds.length + 1) - 1), 'Enter': () => $('detail').focus(), '/': () => $('search').focus(), '?': () => $('help').showModal(),
      }[e.key];
      if (!does) return;
      does();
    }
    e.preventDefault();
  }

  document.body.classList.toggle('two', two);
  head();
  causes();
  chips();
  views();
  let waiting = 0;
  $('search').addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(filter, 60); });
  $('order').addEventListener('change', filter);
  $('list').addEventListener('scroll', () => requestAnimationFrame(draw));
  window.addEventListener('resize', () => requestAnimationFrame(() => view < 0 ? draw() : graphs[view].resized()));
  $('in').addEventListener('click', () => graphs[view].zoom(1.3));
  $('out').addEventListener('click', () => graphs[view].zoom(1 / 1.3));
  $('whole').addEventListener('click', () => graphs[view].showAll());
  $('ask').addEventListener('click', () => $('help').showModal());
  $('close').addEventListener('click', () => $('help').close());
  document.addEventListener('keydown', key);
  filter();
  // What failed is what people look for; then, what of the Dockerfile ran.
  const first = [(s) => s.outcome === 'failed', (s) => s.place && s.outcome === 'executed'].map((is) => data.rows.findIndex((_, n) => is(stepOf(n)))).find((n) => n >= 0);
  choose(first ?? 0);
  show(-1);
})();
