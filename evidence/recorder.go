package evidence

import (
	"context"
	"encoding/json"
)

// Recorder makes one write known before and after it is made. The engine of a
// session implements it, and is the only one that writes the custody log; the wings
// only call it. Do syncs an intend record with the whole change to disk, calls act,
// and records did or failed. A change whose did is already in the journal is not made
// again: act is not called, and Do returns what was recorded. The value that act
// returns (the object's UID, a time) goes into the did record as data.
type Recorder interface {
	Do(ctx context.Context, c Change, act func(context.Context) (json.RawMessage, error)) (json.RawMessage, error)
}
