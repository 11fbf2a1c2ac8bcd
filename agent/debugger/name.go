package debugger

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

const (
	fieldManager = "irkit"
	agentPath    = "/irkit-agent" // in irkit's own image

	// further is how many containers of one case may have been used up beside one
	// container: each stays in the pod's specification.
	further = 20
	// furtherPods is the same for pods of irkit's own, which do not stay: one for each session
	// that needed one.
	furtherPods = 200
)

// containerName is the nth name for the hand beside a container: the same for every
// session of the case.
func containerName(caseID, container string, n int) string {
	return "irkit-" + short(caseID, container, strconv.Itoa(n))
}

func probeName(caseID string) string { return "irkit-probe-" + short(caseID) }

// PodName is the name of a pod of irkit's own that belongs to all the parts together.
func PodName(kind string, parts ...string) string { return "irkit-" + kind + "-" + short(parts...) }

func short(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:10]
}

// newKey is irkit's key for one hand. With a secret it is the same in every session.
func newKey(secret []byte, where string) (ed25519.PrivateKey, error) {
	if len(secret) == 0 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make the hand's key: %w", err)
		}
		return key, nil
	}
	m := hmac.New(sha256.New, secret)
	fmt.Fprintf(m, "irkit-hand-key@v1\x00%s", where)
	return ed25519.NewKeyFromSeed(m.Sum(nil)), nil
}

func public(key ed25519.PrivateKey) string {
	return hex.EncodeToString(key.Public().(ed25519.PublicKey))
}
