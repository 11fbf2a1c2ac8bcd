package playbooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/evidence/upload"
)

// Upload puts a sealed bundle, wherever its folder stands, into a store and records that
// beside it: what the store says it holds, and how it locked it. It answers the receipt's
// file. It may be called again after a failure; what is there already is not sent again.
func (e *Engine) Upload(ctx context.Context, path string, store evidence.Store) (receipt string, err error) {
	dir, bundle := filepath.Dir(path), filepath.Base(path)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("open folder of bundle %s: %w", bundle, err)
	}
	defer root.Close()
	records, _, err := custody.ReadBundle(root, bundle)
	if err != nil {
		return "", err
	}
	if len(records) == 0 {
		return "", fmt.Errorf("upload %s: its custody log is empty", bundle)
	}
	// The log is held until the end: nobody else hands this bundle over meanwhile.
	log, err := custody.Continue(root, custody.Options{Bundle: bundle, Case: records[0].Case, Clock: e.Now})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	told := int64(-1)
	handed, err := upload.Bundle(ctx, store, "", path, bundle, func(done, total int64) {
		if tenth := done * 10 / max(total, 1); tenth != told {
			told = tenth
			e.Progress("stored %d of %d bytes in %s", done, total, store)
		}
	})
	if err != nil {
		_, _, note := log.Append(context.WithoutCancel(ctx), evidence.Record{Action: evidence.ActUploaded, Actor: &e.Actor, Result: "failed", Errors: []string{err.Error()}, Note: store.String()})
		return "", errors.Join(err, note)
	}
	if _, _, err := log.Append(ctx, evidence.Record{Action: evidence.ActUploaded, Actor: &e.Actor, Result: "ok", Note: store.String(), Data: uploaded(handed)}); err != nil {
		return "", err
	}
	// The record of the upload cannot be part of the upload: it follows.
	if _, err := upload.Custody(ctx, store, "", path, bundle); err != nil {
		return "", err
	}
	return filepath.Join(dir, evidence.ReceiptName(bundle)), nil
}

func uploaded(h upload.Handed) map[string]any {
	locked := 0
	for _, r := range h.Files {
		if r.LockMode != "" {
			locked++
		}
	}
	return map[string]any{"files": len(h.Files), "locked": locked}
}
