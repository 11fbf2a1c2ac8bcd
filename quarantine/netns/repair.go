package netns

import "time"

// Repair is one time that a kept cut was found changed, and put back.
type Repair struct {
	At   time.Time     // when the rules stood again
	Open time.Duration // since the kernel told of the change, or since it was found
}
