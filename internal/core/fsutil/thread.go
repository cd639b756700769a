//go:build linux

package fsutil

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Recovered calls f, and makes a panic an error: whoever has made an archive is not to end this process.
func Recovered(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// OnOtherThread runs f on a thread that is not the process's first one, and that is gone afterwards.
func OnOtherThread(f func()) {
	// A thread ends with the goroutine that is locked to it; but the first one only sleeps, and /proc/self is about it.
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
