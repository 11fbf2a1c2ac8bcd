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

// Upload puts a sealed bundle into a store and records that beside it: what the
// store says it holds, and how it locked it. It answers the receipt's file. It may be
// called again after a failure; what is there already is not sent again.
func (e *Engine) Upload(ctx context.Context, caseID, bundle string, store evidence.Store) (string, error) {
	dir := e.Cases.Dir(caseID)
	lock, err := custody.LockCase(dir)
	if err != nil {
		return "", err
	}
	defer lock.Unlock()
	return e.upload(ctx, dir, caseID, bundle, store)
}

// upload is Upload for who holds the lock.
func (e *Engine) upload(ctx context.Context, dir, caseID, bundle string, store evidence.Store) (receipt string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("open case %s: %w", caseID, err)
	}
	defer root.Close()
	log, err := custody.Continue(root, custody.Options{Bundle: bundle, Case: caseID, Clock: e.Now})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	path := filepath.Join(dir, bundle)
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
