package objectstore

import (
	"context"
	"fmt"
	"time"

	"github.com/minio/minio-go/v7"

	"irkit.dev/irkit/evidence"
)

// checkLock reports a lock that was asked for and is not there.
func (s *Store) checkLock(ctx context.Context, r evidence.Receipt) (evidence.Receipt, error) {
	if s.cfg.Lock != NoLock && r.LockMode == "" {
		// Some servers tell it here and not in HEAD.
		if mode, until, err := s.client.GetObjectRetention(ctx, s.cfg.Bucket, s.full(r.Key), r.VersionID); err == nil && mode != nil && until != nil {
			r.LockMode, r.RetainUntil = string(*mode), until.UTC()
		}
	}
	if s.cfg.LegalHold && !r.LegalHold {
		if st, err := s.client.GetObjectLegalHold(ctx, s.cfg.Bucket, s.full(r.Key), minio.GetObjectLegalHoldOptions{VersionID: r.VersionID}); err == nil && st != nil {
			r.LegalHold = *st == minio.LegalHoldEnabled
		}
	}
	least := s.now()
	if !r.Already {
		least = least.Add(s.cfg.Retain - time.Hour) // the PUT's own time, and a clock that differs
	}
	switch {
	case s.cfg.Lock == Compliance && r.LockMode != string(Compliance), s.cfg.Lock == Governance && r.LockMode == "":
		return r, fmt.Errorf("lock %s, read back %q: %w", s.cfg.Lock, r.LockMode, ErrNotLocked)
	case s.cfg.Lock != NoLock && r.RetainUntil.Before(least) && s.cfg.Retain > time.Hour:
		return r, fmt.Errorf("retained until %s only: %w", r.RetainUntil.Format(time.RFC3339), ErrNotLocked)
	case s.cfg.LegalHold && !r.LegalHold:
		return r, fmt.Errorf("legal hold: %w", ErrNotLocked)
	}
	return r, nil
}
