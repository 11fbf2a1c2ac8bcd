package upload

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"irkit.dev/irkit/evidence"
)

// Schema is the schema of a receipt file.
const Schema = "irkit.dev/receipt/v1"

// Receipts is <id>.receipt.json: which stores have the whole bundle, as they tell it.
type Receipts struct {
	Schema string          `json:"schema"`
	Bundle string          `json:"bundle_id"`
	Seal   evidence.Digest `json:"seal_sha256"` // of tagmanifest-sha256.txt
	Stores []Handed        `json:"stores"`
}

// Handed is one whole bundle in one store.
type Handed struct {
	Store    string             `json:"store"`
	Prefix   string             `json:"prefix,omitempty"`
	Uploaded time.Time          `json:"uploaded"`
	Files    []evidence.Receipt `json:"files"`
	Custody  []evidence.Receipt `json:"custody,omitempty"`
}

// Custody puts the records that came after the seal, as far as they are not there. To be called
// again after each further record: the one that says uploaded cannot be part of the upload.
func Custody(ctx context.Context, store evidence.Store, prefix, bundleDir, id string) ([]evidence.Receipt, error) {
	beside, err := os.OpenRoot(filepath.Dir(filepath.Clean(bundleDir)))
	if err != nil {
		return nil, err
	}
	defer beside.Close()
	dir := evidence.CustodyDir(id)
	entries, err := fs.ReadDir(beside.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var receipts []evidence.Receipt
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if !e.Type().IsRegular() || path.Ext(name) != ".jsonl" {
			continue // a record on its way to disk
		}
		st, err := e.Info()
		if err != nil {
			return receipts, err
		}
		d, err := digest(ctx, beside, name)
		if err != nil {
			return receipts, err
		}
		r, err := store.Put(ctx, evidence.StoreKey(prefix, name, ""), evidence.File{Size: st.Size(), SHA256: d, Open: func() (io.ReadCloser, error) { return beside.Open(name) }})
		if err != nil {
			return receipts, err
		}
		receipts = append(receipts, r)
	}
	return receipts, nil
}

// ReadReceipts reads the receipt file beside a bundle; without one it is empty.
func ReadReceipts(bundleDir, id string) (Receipts, error) {
	name := filepath.Join(filepath.Dir(filepath.Clean(bundleDir)), evidence.ReceiptName(id))
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Receipts{Schema: Schema, Bundle: id}, nil
	}
	if err != nil {
		return Receipts{}, err
	}
	var r Receipts
	if err := json.Unmarshal(b, &r); err != nil {
		return Receipts{}, fmt.Errorf("read %s: %w", name, err)
	}
	if r.Schema != Schema || r.Bundle != id {
		return Receipts{}, fmt.Errorf("read %s: schema %q of bundle %q, want %q of %q", name, r.Schema, r.Bundle, Schema, id)
	}
	return r, nil
}

// writeReceipt adds one store's receipts to the file beside the bundle, which is whole at any time.
func writeReceipt(bundleDir, id string, seal evidence.Digest, h Handed) error {
	r, err := ReadReceipts(bundleDir, id)
	if err != nil {
		return err
	}
	if !r.Seal.IsZero() && r.Seal != seal {
		return fmt.Errorf("%s is of another seal: %s, not %s", evidence.ReceiptName(id), r.Seal, seal)
	}
	r.Seal = seal
	r.Stores = slices.DeleteFunc(r.Stores, func(o Handed) bool { return o.Store == h.Store && o.Prefix == h.Prefix })
	r.Stores = append(r.Stores, h)
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	beside, err := os.OpenRoot(filepath.Dir(filepath.Clean(bundleDir)))
	if err != nil {
		return err
	}
	defer beside.Close() // the file itself is closed below
	temp := evidence.ReceiptName(id) + "." + rand.Text()
	f, err := beside.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, beside.Remove(temp))
	}
	return beside.Rename(temp, evidence.ReceiptName(id))
}
