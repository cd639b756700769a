//go:build linux

package fsutil

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Recovered calls f, and turns a panic into an error: the author of an archive must not be able to end this process.
func Recovered(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// OnOtherThread runs f on a thread that is not the first thread of the process. Call it by a go statement: the thread ends with the goroutine.
func OnOtherThread(f func()) {
	// A thread ends with the goroutine that is locked to it. But the first thread of the process, which /proc/self shows, would only sleep
	// from then on.
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	defer runtime.UnlockOSThread()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		OnOtherThread(f)
	}()
	<-ended
}
