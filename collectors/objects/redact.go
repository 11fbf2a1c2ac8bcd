package objects

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// redactor puts {length, hmac_sha256} where a value stays out. The digest is keyed with
// the case's key, so that equal values can be told without any being guessed.
type redactor struct{ key []byte }

func (r redactor) stand(value []byte) map[string]any {
	s := map[string]any{"length": int64(len(value))}
	if len(r.key) > 0 {
		h := hmac.New(sha256.New, r.key)
		h.Write(value)
		s["hmac_sha256"] = hex.EncodeToString(h.Sum(nil))
	}
	return s
}

// object redacts one API object in place: literal values of environment variables and
// of probes' headers wherever a pod template lies in it, data of secrets and
// configmaps, and annotations that hold a copy of an object.
func (r redactor) object(o map[string]any) {
	switch o["kind"] {
	case "Secret", "ConfigMap":
		r.data(o, "data", o["kind"] == "Secret")
		r.data(o, "binaryData", true)
		r.data(o, "stringData", false)
	}
	r.walk(o)
}

func (r redactor) data(o map[string]any, field string, encoded bool) {
	switch data := o[field].(type) {
	case map[string]any:
		for k, v := range data {
			b := bytesOf(v)
			if encoded {
				if raw, err := base64.StdEncoding.DecodeString(string(b)); err == nil {
					b = raw
				}
			}
			data[k] = r.stand(b)
		}
	case nil:
	default:
		o[field] = r.stand(bytesOf(data))
	}
}

func (r redactor) walk(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			switch k {
			case "managedFields": // field names alone
				continue
			case "env", "httpHeaders":
				if r.values(child) {
					continue
				}
			case "annotations":
				if a, ok := child.(map[string]any); ok {
					r.annotations(a)
					continue
				}
			}
			r.walk(child)
		}
	case []any:
		for _, child := range v {
			r.walk(child)
		}
	}
}

// values redacts a list of {name, value}; false when it is no such list.
func (r redactor) values(v any) bool {
	list, ok := v.([]any)
	if !ok {
		return false
	}
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			if value, ok := m["value"]; ok {
				m["value"] = r.stand(bytesOf(value))
			}
		}
	}
	return true
}

// copies are annotations in which tools keep the object as it was applied.
var copies = []string{
	"last-applied", "kapp.k14s.io/original", "objectset.rio.cattle.io/applied", "original-configuration", "applied-config",
}

func (r redactor) annotations(a map[string]any) {
	for k, v := range a {
		text := bytesOf(v)
		hide := false
		for _, c := range copies {
			hide = hide || strings.Contains(k, c)
		}
		if !hide && holdsObject(text) {
			hide = true
		}
		if !hide {
			continue
		}
		// An annotation is a string; what stands for it is one too.
		stand, err := json.Marshal(r.stand(text))
		if err != nil {
			stand = []byte(fmt.Sprintf(`{"length":%d}`, len(text)))
		}
		a[k] = string(stand)
	}
}

// holdsObject tells an annotation that is JSON with a literal environment in it,
// whoever put it there.
func holdsObject(b []byte) bool {
	if len(b) < 2 || (b[0] != '{' && b[0] != '[') {
		return false
	}
	var v any
	if json.Unmarshal(b, &v) != nil {
		return false
	}
	return hasEnv(v)
}

func hasEnv(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			switch k {
			case "env", "httpHeaders", "stringData", "binaryData", "data":
				return true
			}
			if hasEnv(child) {
				return true
			}
		}
	case []any:
		for _, child := range v {
			if hasEnv(child) {
				return true
			}
		}
	}
	return false
}

func bytesOf(v any) []byte {
	if s, ok := v.(string); ok {
		return []byte(s)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}
