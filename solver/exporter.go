package solver

import (
	"context"
	"errors"
)

// keyExporter exports the chain behind a key. It is the key itself under another
// name, because every edge has one and few are ever used.
type keyExporter CacheKey

// newExportableKey connects a key with its exporter.
func newExportableKey(k *CacheKey) ExportableCacheKey {
	return ExportableCacheKey{CacheKey: k, Exporter: (*keyExporter)(k)}
}

// newExportGroup connects the keys of one result with their exporters. Exports to
// one target share what they have done anyway: see exportSession.
func newExportGroup(keys []*CacheKey) []ExportableCacheKey {
	out := make([]ExportableCacheKey, len(keys))
	for i, k := range keys {
		out[i] = newExportableKey(k)
	}
	return out
}

// exportableIn connects a key with an exporter that asks m even if the key does
// not name it.
func exportableIn(m *cacheManager, key *CacheKey) ExportableCacheKey {
	k := newExportableKey(key)
	for _, c := range key.caches.managers() {
		if c == CacheManager(m) {
			return k
		}
	}
	k.Exporter = &storedExporter{key: key, manager: m}
	return k
}

// ExportTo implements CacheExporter.
func (e *keyExporter) ExportTo(ctx context.Context, t CacheExporterTarget, opt CacheExportOpt) ([]CacheExporterRecord, error) {
	return exportKey(ctx, (*CacheKey)(e), nil, t, opt)
}

// storedExporter exports a key that was saved in a manager.
type storedExporter struct {
	key     *CacheKey
	manager *cacheManager
}

// ExportTo implements CacheExporter.
func (e *storedExporter) ExportTo(ctx context.Context, t CacheExporterTarget, opt CacheExportOpt) ([]CacheExporterRecord, error) {
	return exportKey(ctx, e.key, e.manager, t, opt)
}

// exportKey exports a key's chain to a target. Nothing is added to the target
// before all that can fail has been done.
func exportKey(ctx context.Context, key *CacheKey, m *cacheManager, t CacheExporterTarget, opt CacheExportOpt) (recs []CacheExporterRecord, err error) {
	defer recovered("an export", &err)
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if t == nil {
		return nil, errors.New("export: no target")
	}
	w := &exportWalk{ctx: ctx, session: exportSessions.of(t), opt: opt}
	if recs, err = w.export(key, m); err != nil {
		return nil, err
	}
	for _, sub := range w.foreign { // which may export to the target in turn
		more, err := sub.ExportTo(ctx, t, opt)
		if err != nil {
			return nil, err
		}
		recs = append(recs, more...)
	}
	return recs, nil
}

// export exports a key's chain.
func (w *exportWalk) export(key *CacheKey, m *cacheManager) ([]CacheExporterRecord, error) {
	if err := w.session.begin(w.ctx); err != nil {
		return nil, err
	}
	defer w.session.end()
	if w.opt.Convert == nil {
		w.opt.Mode = CacheExportModeRemoteOnly
	}
	if m != nil {
		w.ask(m)
	}
	top := w.keys(key)
	if err := w.links(); err != nil {
		return nil, err
	}
	w.leaveOut(top)
	if err := w.results(top); err != nil {
		return nil, err
	}
	if err := w.emit(); err != nil {
		return nil, err
	}
	return []CacheExporterRecord{top.rec}, nil
}
