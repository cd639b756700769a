package wire

import "os"

// ExpectMessages announces to the host of a vmtest that a test provokes
// messages of aufs or overlayfs in the kernel's log that contain one of these
// texts. The announcement lasts until the test calls stop. Outside a vmtest
// nobody listens, and that is no error.
func ExpectMessages(texts ...string) (stop func()) {
	say := func(text string) { _ = os.WriteFile("/dev/kmsg", []byte(text+"\n"), 0) }
	for _, text := range texts {
		say(AnnounceExpect + text)
	}
	return func() { say(AnnounceExpectNone) }
}
