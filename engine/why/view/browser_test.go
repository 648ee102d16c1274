package view_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// browser is a tab of headless Chromium, which is told what to do through a pipe, in the
// protocol of its developer tools.
type browser struct {
	t       *testing.T
	to      *os.File
	from    *bufio.Reader
	session string
	calls   int
	loaded  bool
	// bad is what no page of ours does: errors, dialogs, requests.
	bad []string
}

// message is one of the protocol, either way.
type message struct {
	ID      int            `json:"id,omitempty"`
	Session string         `json:"sessionId,omitempty"`
	Method  string         `json:"method,omitempty"`
	Params  map[string]any `json:"params,omitempty"`
	Result  map[string]any `json:"result,omitempty"`
	Error   map[string]any `json:"error,omitempty"`
}

// startBrowser starts Chromium. What it asks of a network finds none.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path := testenv.Tool(t, "chromium-headless-shell")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // for one that does not answer
	t.Cleanup(cancel)
	theirIn, to, err := os.Pipe()
	check.OK(t, err)
	from, theirOut, err := os.Pipe()
	check.OK(t, err)
	cmd := exec.CommandContext(ctx, path, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,800", "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	check.OK(t, cmd.Start())
	theirIn.Close()
	theirOut.Close()
	t.Cleanup(func() {
		to.Close() // it ends then
		_ = cmd.Wait()
		from.Close()
	})
	b := &browser{t: t, to: to, from: bufio.NewReader(from)}
	target := b.call("Target.createTarget", map[string]any{"url": "about:blank"})["targetId"]
	b.session = b.call("Target.attachToTarget", map[string]any{"targetId": target, "flatten": true})["sessionId"].(string)
	for _, domain := range []string{"Page", "Runtime", "Network", "Log"} {
		b.call(domain+".enable", nil)
	}
	return b
}

// call calls a method, and waits for its answer.
func (b *browser) call(method string, params map[string]any) map[string]any {
	b.t.Helper()
	b.calls++
	dt, err := json.Marshal(message{ID: b.calls, Session: b.session, Method: method, Params: params})
	check.OK(b.t, err)
	_, err = b.to.Write(append(dt, 0))
	check.OK(b.t, err)
	for {
		m := b.next()
		if m.ID != b.calls {
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %v", method, m.Error)
		}
		return m.Result
	}
}

// next reads a message, and notes what it tells.
func (b *browser) next() (m message) {
	b.t.Helper()
	dt, err := b.from.ReadBytes(0)
	check.OK(b.t, err)
	check.OK(b.t, json.Unmarshal(dt[:len(dt)-1], &m))
	switch m.Method {
	case "Page.loadEventFired":
		b.loaded = true
	case "Network.requestWillBeSent":
		if request := m.Params["request"].(map[string]any); !strings.HasPrefix(fmt.Sprint(request["url"]), "file://") {
			b.bad = append(b.bad, fmt.Sprint(request["url"]))
		}
	case "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Page.javascriptDialogOpening":
		b.bad = append(b.bad, fmt.Sprint(m.Method, m.Params))
	}
	return m
}

// open shows a page.
func (b *browser) open(html string) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "page.html")
	check.OK(b.t, os.WriteFile(file, []byte(html), 0o600))
	b.loaded = false
	b.call("Page.navigate", map[string]any{"url": "file://" + file})
	for !b.loaded {
		b.next()
	}
}

// value is that of an expression in the page.
func (b *browser) value(expr string) any {
	b.t.Helper()
	out := b.call("Runtime.evaluate", map[string]any{"expression": expr, "returnByValue": true, "awaitPromise": true})
	if e := out["exceptionDetails"]; e != nil {
		b.t.Fatalf("%s: %v", expr, e)
	}
	return out["result"].(map[string]any)["value"]
}

// shows waits until an expression has a value.
func (b *browser) shows(expr, want string) {
	b.t.Helper()
	dt, err := json.Marshal(want)
	check.OK(b.t, err)
	got := b.value(fmt.Sprintf(`new Promise((done) => {
		let frames = 0;
		const look = () => { const got = String(%s); got === %s || ++frames > 600 ? done(got) : requestAnimationFrame(look); };
		look();
	})`, expr, dt))
	if got != want {
		b.t.Errorf("%s is %q, not %q", expr, got, want)
	}
}

// keys presses keys, one after the other.
func (b *browser) keys(names ...string) {
	b.t.Helper()
	for _, name := range names {
		params := map[string]any{"type": "keyDown", "key": name}
		if len(name) == 1 {
			params["text"] = name
		}
		b.call("Input.dispatchKeyEvent", params)
		b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": name})
	}
}

// click clicks on the middle of what a selector finds first.
func (b *browser) click(selector string) {
	b.t.Helper()
	at := b.value(fmt.Sprintf(`(() => { const r = document.querySelector(%q).getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()`, selector)).([]any)
	for _, what := range []string{"mousePressed", "mouseReleased"} {
		b.call("Input.dispatchMouseEvent", map[string]any{"type": what, "x": at[0], "y": at[1], "button": "left", "clickCount": 1})
	}
}

const (
	chosenName = `document.querySelector('#detail h2').textContent`
	foundText  = `document.getElementById('found').textContent`
	focused    = `document.activeElement.id || document.activeElement.tagName`
)

func TestPageInBrowser(t *testing.T) {
	b := startBrowser(t)
	t.Run("keys and clicks", func(t *testing.T) {
		b.t = t
		b.open(page(t, build("1", "[1/3] RUN first", "[2/3] RUN second", "[3/3] RUN third")))
		useList(b)
		useGraph(b)
	})
	t.Run("hostile names", func(t *testing.T) {
		b.t = t
		b.open(page(t, build(hostile, hostile, hostile)))
		b.shows(chosenName, strings.ToValidUTF8(hostile, "\uFFFD"))
		b.shows(`document.querySelector('#detail pre').textContent`, strings.ToValidUTF8(hostile, "\uFFFD"))
		b.shows(`document.querySelectorAll('img, body script').length`, "2") // the data, and the page's own
		b.keys("v")
		b.shows(focused, "CANVAS")
	})
	t.Run("many steps", func(t *testing.T) {
		b.t = t
		names := make([]string, 2000)
		for i := range names {
			names[i] = fmt.Sprintf("[%d/2000] RUN number %d", i+1, i)
		}
		b.open(page(t, build("1", names...), build("2", names[:1999]...)))
		b.keys("G")
		b.shows(chosenName, names[1999])
		b.shows(`document.querySelector('[aria-selected=true] .none').textContent`, "· not in B")
		b.shows(`document.querySelectorAll('.row').length < 100`, "true")
		b.keys(append([]string{"/"}, strings.Split("[2000/2000]", "")...)...)
		b.shows(foundText, "1 of 2000 steps")
		b.keys("Enter", "v", "ArrowUp", "0")
		b.shows(chosenName, names[1998])
		b.shows(foundText, "2000 steps") // what was left out is shown when it is chosen
	})
	if len(b.bad) > 0 {
		t.Errorf("pages did what they never do: %q", b.bad)
	}
}

func useList(b *browser) {
	b.shows(foundText, "3 steps")
	b.shows(focused, "list")
	b.keys("j", "ArrowDown", "j", "k")
	b.shows(chosenName, "[2/3] RUN second")
	b.click(".row")
	b.shows(chosenName, "[1/3] RUN first")
	b.keys("Enter")
	b.shows(focused, "detail")
	b.keys("Escape", "/", "t", "h", "i", "r", "d")
	b.shows(foundText, "1 of 3 steps")
	b.shows(chosenName, "[3/3] RUN third")
	b.shows(`document.querySelector('#detail mark').textContent`, "third")
	b.keys("Escape")
	b.shows(foundText, "3 steps")
	b.click("#outcomes .executed")
	b.shows(foundText, "0 of 3 steps")
	b.click("#outcomes .executed")
	b.click("#causes summary")
	b.shows(`document.querySelectorAll('#causes li').length`, "3")
	b.click("#causes li:nth-child(2) a")
	b.shows(chosenName, "[2/3] RUN second")
	b.keys("?")
	b.shows(`document.getElementById('help').open`, "true")
	b.click("#close")
	b.shows(`document.getElementById('help').open`, "false")
}

func useGraph(b *browser) {
	b.keys("v")
	b.shows(focused, "CANVAS")
	b.keys("g", "ArrowDown", "ArrowDown")
	b.shows(chosenName, "[3/3] RUN third")
	b.keys("ArrowUp", "ArrowUp", "ArrowUp")
	b.shows(chosenName, "[1/3] RUN first")
	b.keys("+", "-", "0")
	b.click("canvas") // the one in the middle
	b.shows(chosenName, "[2/3] RUN second")
	b.shows(`document.querySelector('canvas').getAttribute('aria-label')`, "Graph of the steps; chosen is [2/3] RUN second")
	b.keys("v")
	b.shows(focused, "list")
}
