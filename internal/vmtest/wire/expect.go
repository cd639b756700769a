package wire

import "os"

// ExpectMessages tells the host of a vmtest that a test provokes what aufs or
// overlayfs write to the kernel's log with one of these texts in it, until it
// calls stop. Elsewhere there is nobody to tell, and that is no error.
func ExpectMessages(texts ...string) (stop func()) {
	say := func(mark string) { _ = os.WriteFile("/dev/kmsg", []byte(mark+"\n"), 0) }
	for _, text := range texts {
		say(MarkExpect + text)
	}
	return func() { say(MarkExpectNone) }
}
