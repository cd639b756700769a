package wire

import "os"

// ExpectMountMessages tells the host of a vmtest that what aufs and overlayfs
// write to the kernel's log is what a test provokes, until it calls stop.
// Elsewhere there is nobody to tell, and that is no error.
func ExpectMountMessages() (stop func()) {
	say := func(mark string) { _ = os.WriteFile("/dev/kmsg", []byte(mark+"\n"), 0) }
	say(ExpectMounts)
	return func() { say(UnexpectMounts) }
}
