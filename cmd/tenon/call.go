package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	bksubrequests "github.com/moby/buildkit/frontend/subrequests"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/errdefs"

	"github.com/tenonbuild/tenon/engine"
)

// subrequests are the values of --call that ask about a Dockerfile.
var subrequests = map[string]string{
	"check":   lint.SubrequestLintDefinition.Name,
	"outline": outline.SubrequestsOutlineDefinition.Name,
	"targets": targets.SubrequestsTargetsDefinition.Name,

	"describe": bksubrequests.RequestSubrequestsDescribe,
}

// call is what --call asks for.
type call struct {
	request string // the subrequest; "" to build
	format  string // "text" or "json"
	// ignoreStatus has a check that has found something end with 0.
	ignoreStatus bool
}

func parseCall(s string) (call, error) {
	what, rest, _ := strings.Cut(s, ",")
	c := call{format: "text"}
	for option := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(option, "=")
		ignore, err := strconv.ParseBool(value)
		switch {
		case option == "":
		case key == "format" && (value == "text" || value == "json"):
			c.format = value
		case key == "ignorestatus" && err == nil:
			c.ignoreStatus = ignore
		default:
			return call{}, fmt.Errorf("--call %q: what follows the comma should be format=text or format=json, or ignorestatus=true", s)
		}
	}
	what = strings.TrimPrefix(what, "subrequests.")
	if what == "lint" {
		what = "check"
	}
	if what == "build" || what == "" {
		return c, nil
	}
	request, ok := subrequests[what]
	if !ok {
		return call{}, fmt.Errorf("--call %q: it can be build, check, outline or targets", s)
	}
	c.request = request
	return c, nil
}

// ask asks the frontend about the Dockerfile, and prints the answer.
func (c *cli) ask(ctx context.Context, req engine.Request, what call, f *buildFlags) error {
	mode := f.progressMode(c.env)
	if mode == "auto" {
		mode = "quiet" // the answer is what there is to see
	}
	res, err := c.run(ctx, req, mode, recording{})
	if err != nil {
		return err
	}
	return c.answer(res.Metadata, what)
}

// answer prints what a frontend has answered. A check that has found something ends
// with 1.
func (c *cli) answer(said map[string][]byte, what call) error {
	text := strings.TrimRight(string(said["result.txt"]), "\n")
	if what.format == "json" {
		text = strings.TrimRight(string(said["result.json"]), "\n")
	}
	if what.request != lint.SubrequestLintDefinition.Name {
		fmt.Fprintln(c.text(), text)
		return nil
	}
	broken, err := parseError(said["result.json"])
	if err != nil {
		return err
	}
	if text == "" && broken == nil {
		text = "Check complete, no warnings found."
	}
	if text != "" {
		fmt.Fprintln(c.text(), text)
	}
	if broken != nil {
		return broken
	}
	if status := string(said["result.statuscode"]); status != "" && status != "0" && !what.ignoreStatus {
		return exitError(1)
	}
	return nil
}

// parseError returns the error of a Dockerfile that a check could not read.
func parseError(checked []byte) (found, err error) {
	var results lint.LintResults
	if err := json.Unmarshal(checked, &results); err != nil {
		return nil, fmt.Errorf("the answer to --check: %w", err)
	}
	if results.Error == nil {
		return nil, nil
	}
	found = errors.New(results.Error.Message)
	if i := int(results.Error.Location.SourceIndex); i >= 0 && i < len(results.Sources) {
		found = errdefs.WithSource(found, &errdefs.Source{Info: results.Sources[i], Ranges: results.Error.Location.Ranges})
	}
	return found, nil
}
