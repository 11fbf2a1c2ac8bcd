package playbooks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/report"
	"irkit.dev/irkit/evidence/timeline"
)

// sealLimit bounds what is done after an interrupt or a failure: measuring ends,
// describing and sealing what is there.
const sealLimit = 10 * time.Minute

// finish ends the hands and seals, whatever came before. An interrupt does not end it.
func (s *session) finish(ctx context.Context) error {
	ctx, done := detached(ctx, sealLimit)
	defer done()
	s.Progress("sealing %d entries", len(s.bag.Entries()))
	described := s.describe()
	if err := s.endHands(ctx); err != nil {
		s.Progress("%v", err)
	}
	if err := s.site.Journal.Rest(ctx, s.Conn.Sent()); err != nil {
		s.fail(err)
	}
	if err := s.tags(ctx, described); err != nil {
		s.fail(fmt.Errorf("describe bundle: %w", err)) // it is evidence without that, too
	}
	return s.seal(ctx)
}

// endHands ends what is beside the target, but for the hand that holds the cut.
func (s *session) endHands(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	return s.site.Hands.Close(ctx, s.site.Wants("netns"))
}

// tags writes what the bundle says of itself, and the report from the bundle's files.
func (s *session) tags(ctx context.Context, m described) error {
	// How a hand is started shows only when admission was asked: custody has it.
	changes := slices.DeleteFunc(slices.Clone(s.look.Changes), func(c evidence.Change) bool { return c.Layer == "hand" || c.Layer == "probe" })
	planned := evidence.Planned{Playbook: s.order.Plan.Name, Steps: s.look.Steps, Layers: s.look.Want.Layers, Changes: changes}
	files := map[string]any{
		evidence.EvidenceJSON: m.meta, evidence.CompletenessJSON: m.completeness, evidence.SceneJSON: s.look.Scene,
		evidence.ForecastJSON: s.look.Forecast, evidence.PlanJSON: planned, evidence.ObserverJSON: s.site.Alterations(),
		evidence.EnvironmentJSON: m.environment,
	}
	if v := s.result.Verdict; v != nil {
		files[evidence.VerdictJSON] = v
	}
	var errs []error
	for path, v := range files {
		errs = append(errs, s.bag.WriteJSON(path, v))
	}
	errs = append(errs, s.bag.WriteTag(evidence.PlaybookYAML, s.order.Plan.Source))
	return errors.Join(append(errs, s.pictures(ctx))...)
}

// pictures writes report and timeline. A bundle without them is still evidence: what
// goes wrong here is told, and does not keep the seal away.
func (s *session) pictures(ctx context.Context) error {
	var html, line bytes.Buffer
	inside := s.bag.Root().FS()
	if err := report.Write(ctx, inside, &html, report.Options{Lang: "en"}); err != nil {
		s.Progress("no report: %v", err)
	} else if err := s.bag.WriteTag(evidence.ReportEN, html.Bytes()); err != nil {
		return err
	} else {
		s.result.Report = filepath.Join(s.bag.Dir(), filepath.FromSlash(evidence.ReportEN))
	}
	if err := timeline.Write(inside, &line); err != nil {
		s.Progress("no timeline: %v", err)
		return nil
	}
	if err := s.bag.WriteTag("timeline/timesketch.jsonl", line.Bytes()); err != nil {
		return err
	}
	// Of a million names it is a hundred megabytes: written as it is made.
	err := s.bag.StreamTag(evidence.Bodyfile, func(to io.Writer) error { return timeline.Bodyfile(inside, to) })
	if err != nil {
		s.Progress("no body of file times: %v", err)
	}
	return nil
}

// seal closes the log and signs.
func (s *session) seal(ctx context.Context) error {
	s.result.Entries = len(s.bag.Entries())
	digest, err := s.sealBag(ctx, s.bag, s.site.Journal, s.log, s.order.Case, s.order.Target)
	s.result.Seal = digest
	return err
}

// sealOf is the seal digest of a sealed bundle of the case.
func sealOf(root *os.Root, id string) (string, error) {
	b, err := root.ReadFile(path.Join(id, evidence.TagManifestSHA256))
	if err != nil {
		return "", fmt.Errorf("read seal of %s: %w", id, err)
	}
	return evidence.Digest(sha256.Sum256(b)).Hex(), nil
}

// store puts the sealed bundle where it was asked for. It stays here in any case.
func (s *session) store(ctx context.Context) {
	store, err := s.order.OpenStore(ctx)
	if err != nil {
		s.result.StoreError = err.Error()
		return
	}
	receipt, err := s.Upload(ctx, s.bag.Dir(), store)
	if err != nil {
		s.result.StoreError = err.Error()
		return
	}
	s.result.Receipt = receipt
}
