package main

import (
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/attestations"
)

// attestAttrs adds what --attest, --provenance and --sbom ask for: the attributes attest:*.
// The latter two are short for the first.
func (f *buildFlags) attestAttrs(a map[string]string) error {
	var all []attestation
	for _, v := range f.attests {
		x, err := parseAttestation("--attest", "", v)
		if err != nil {
			return err
		}
		all = append(all, x)
	}
	for _, short := range []struct{ kind, value string }{
		{attestations.KeyTypeProvenance, f.provenance}, {attestations.KeyTypeSbom, f.sbom},
	} {
		if short.value == "" {
			continue
		}
		x, err := parseAttestation("--"+short.kind, short.kind, short.value)
		if err != nil {
			return err
		}
		all = append(all, x)
	}
	seen := map[string]bool{}
	for _, x := range all {
		if seen[x.kind] {
			return fmt.Errorf("%s: type=%s is asked for twice", x.flag, x.kind)
		}
		seen[x.kind] = true
		if !x.disabled {
			a["attest:"+x.kind] = csvLine(x.attrs)
		}
	}
	return nil
}

// attestation is what a flag asks for.
type attestation struct {
	flag, kind string
	disabled   bool
	attrs      []string // key=value
}

// parseAttestation reads a line of CSV, or true or false where the flag says the kind.
func parseAttestation(flag, kind, v string) (attestation, error) {
	x := attestation{flag: fmt.Sprintf("%s %s", flag, v), kind: kind}
	if yes, err := strconv.ParseBool(v); err == nil && kind != "" {
		x.disabled = !yes
		return x, nil
	}
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return x, fmt.Errorf("%s: it is not a line of CSV: %w", x.flag, err)
	}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		switch {
		case !ok:
			return x, fmt.Errorf("%s: %q is not of the form key=value", x.flag, field)
		case key == "type" && kind == "":
			x.kind = value
		case key == "type" && value != kind:
			return x, fmt.Errorf("%s: it cannot be of type=%s", x.flag, value)
		case key == "disabled":
			if x.disabled, err = strconv.ParseBool(value); err != nil {
				return x, fmt.Errorf("%s: disabled=%q: say true or false", x.flag, value)
			}
		case key != "type":
			x.attrs = append(x.attrs, field)
		}
	}
	if x.kind != attestations.KeyTypeProvenance && x.kind != attestations.KeyTypeSbom {
		return x, fmt.Errorf("%s: say type=%s or type=%s", x.flag, attestations.KeyTypeProvenance, attestations.KeyTypeSbom)
	}
	return x, nil
}
