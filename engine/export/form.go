package export

import "github.com/tenonbuild/tenon/engine/store"

// Former is an Exporter that can say in which form it will have layers made, but for their
// times; nil: it makes none.
type Former interface {
	LayerForm() *store.LayerOptions
}

// LayerForm is what a Former says. Of other exporters it is not known.
func LayerForm(x Exporter) (form *store.LayerOptions, known bool) {
	if m, ok := x.(withMetadata); ok {
		return LayerForm(m.Exporter)
	}
	f, ok := x.(Former)
	if !ok {
		return nil, false
	}
	return f.LayerForm(), true
}

func (f imageForm) layerForm() *store.LayerOptions {
	return &store.LayerOptions{Compression: f.compression}
}

// LayerForm implements Former.
func (e *imageExporter) LayerForm() *store.LayerOptions { return e.opt.layerForm() }

// LayerForm implements Former.
func (e *archiveExporter) LayerForm() *store.LayerOptions { return e.opt.layerForm() }

// LayerForm implements Former.
func (e *localExporter) LayerForm() *store.LayerOptions { return nil }

// LayerForm implements Former.
func (e *remoteExporter) LayerForm() *store.LayerOptions { return nil }

// LayerForm implements Former.
func (e *tarExporter) LayerForm() *store.LayerOptions { return nil }

// LayerForm implements Former.
func (nothing) LayerForm() *store.LayerOptions { return nil }
