//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/chrootarchive"
	"golang.org/x/sys/unix"
)

// unpackArchive has the library extract an archive into the directory dir. No name in the archive, and no link, leads out of it.
//
// The library's chrootarchive has a child for that, which takes as long to start as hundreds of files take, and gets the archive through a
// pipe. A thread can have a root directory of its own as well. Where that is forbidden, it is the child that extracts; and where errors
// are ignored, for the library writes a line about each to the standard error.
func unpackArchive(source io.Reader, dir string, options *archive.TarOptions) error {
	if options.IgnoreChownErrors {
		return chrootarchive.UntarUncompressed(source, dir, options)
	}
	// What package time reads of it, once for all and for whoever writes to a log, is not to be read there.
	_ = time.Local.String()
	r, w := newChunkPipe()
	unpacked, err := inRoot(dir, func() error {
		defer r.Close()
		if err := archive.Unpack(r, "/", options); err != nil {
			return err
		}
		// Whoever writes the archive may wait for the end of it to be read, which is behind the end of what it has.
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		return chrootarchive.UntarUncompressed(source, dir, options)
	}
	if err != nil {
		return err
	}
	// It is read here, for who knows which files it opens.
	read := w.fill(source)
	w.end(read)
	if err = <-unpacked; err == nil {
		return nil
	}
	err = fmt.Errorf("unpacking it: %w", err)
	if errors.Is(read, io.ErrClosedPipe) {
		if _, rerr := io.Copy(io.Discard, source); rerr != nil {
			err = fmt.Errorf("%w; reading the rest of it: %w", err, rerr)
		}
	}
	return err
}

// inRoot runs f on a thread that has dir as its root directory, and as its working directory: absolute paths and ".." end there. f must
// not have others do what is to be done there. What it returns can be received from ended; the thread does not use dir any more then.
// The error says that f does not run.
func inRoot(dir string, f func() error) (ended <-chan error, err error) {
	// The caller may be in a mount namespace that the other thread is not in.
	root, err := os.OpenFile(dir, openDirectory, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	began, end := make(chan error, 1), make(chan error, 1)
	go onOtherThread(func() {
		leave, err := enterRoot(root)
		began <- err
		if err == nil {
			err = recovered(f)
			leave()
			end <- err
		}
	})
	return end, <-began
}

// enterRoot makes an open directory the root directory, and the working directory, of the calling thread alone. To leave it ends that.
func enterRoot(root *os.File) (leave func(), err error) {
	outside, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/", Err: err}
	}
	// The other threads have these, and their umask, together.
	if err = unix.Unshare(unix.CLONE_FS); err == nil {
		err = unix.Fchdir(int(root.Fd()))
	}
	if err == nil {
		err = unix.Chroot(".")
	}
	if err != nil {
		_ = unix.Close(outside)
		return nil, fmt.Errorf("making %s the root directory: %w", root.Name(), err)
	}
	return func() {
		// The thread is about to end, and what of this has failed ends with it.
		_ = unix.Fchdir(outside)
		_ = unix.Chroot(".")
		_ = unix.Close(outside)
	}, nil
}

// recovered calls f, and makes a panic an error: whoever has made an archive is not to end this process.
func recovered(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// onOtherThread runs f on a thread that is not the process's first one, and that is gone afterwards.
func onOtherThread(f func()) {
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
		onOtherThread(f)
	}()
	<-ended
}
