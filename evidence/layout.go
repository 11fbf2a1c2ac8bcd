package evidence

import (
	"fmt"
	"path"
)

// The names inside a bundle. This file is the only place that spells them.
const (
	BagItTxt          = "bagit.txt"
	BagInfo           = "bag-info.txt"
	ManifestSHA256    = "manifest-sha256.txt"
	ManifestSHA512    = "manifest-sha512.txt"
	TagManifestSHA256 = "tagmanifest-sha256.txt"
	SealSignature     = TagManifestSHA256 + ".sig"
	SealTimestamp     = TagManifestSHA256 + ".tsr"
	VerifyTxt         = "VERIFY.txt"
	PayloadDir        = "data"
	EvidenceJSON      = "meta/evidence.json"
	EntriesJSONL      = "meta/entries.jsonl"
	CustodyJSONL      = "meta/custody.jsonl"
	SceneJSON         = "meta/scene.json"
	ForecastJSON      = "meta/forecast.json"
	PlanJSON          = "meta/plan.json"
	VerdictJSON       = "meta/verdict.json"
	CompletenessJSON  = "meta/completeness.json"
	ObserverJSON      = "meta/observer.json"
	EnvironmentJSON   = "meta/environment.json"
	PlaybookYAML      = "meta/playbook.yaml"
	ReportEN          = "report/report.en.html"
	Bodyfile          = "timeline/bodyfile.txt"
	AllowedSigners    = "seal/allowed_signers"
)

// SealNamespace is the SSHSIG namespace of a bundle's seal, UndoNamespace that of the
// undo annotation.
const (
	SealNamespace = "irkit-evidence@v1"
	UndoNamespace = "irkit-undo@v1"
)

// PayloadPath is where part n (from 1) of an artifact's bytes stand; parts is false
// while there is only one. index is the entry's number.
func PayloadPath(index int, a Artifact, part int, parts bool) string {
	ext := a.Ext
	if a.Compress {
		ext += ".zst"
	}
	name := fmt.Sprintf("%04d-%s-%s.%s", index, a.Ordinal, a.Kind, ext)
	if parts {
		name += fmt.Sprintf(".part%04d", part)
	}
	return path.Join(PayloadDir, string(a.Section), name)
}

// BundleID names a bundle: irkit-<case>-<ulid>, lower-case.
func BundleID(caseID, ulid string) string { return "irkit-" + caseID + "-" + ulid }

// StoreKey is the key of a bundle's file in a store.
func StoreKey(prefix, bundleID, file string) string { return path.Join(prefix, bundleID, file) }

// ReceiptName is the file beside a bundle that tells where it was stored after the seal.
func ReceiptName(bundleID string) string { return bundleID + ".receipt.json" }

// CustodyDir is the folder beside a bundle where its chain goes on, one file a record.
func CustodyDir(bundleID string) string { return bundleID + ".custody" }

// CustodyName is one later record: its sequence number and the digest of its line.
func CustodyName(seq int, line Digest) string { return fmt.Sprintf("%06d-%s.jsonl", seq, line.Hex()) }
