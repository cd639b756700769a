//go:build linux

package unpack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// An Extractor extracts an archive into a directory. The storage library does the work.
type Extractor struct {
	// InThread extracts into dir in the calling thread. dir is the root directory of that thread, or below it.
	InThread func(archive io.Reader, dir string, options layertar.UnpackOptions) error
	// InChild extracts into dir in a child process that has dir as its root directory.
	InChild func(archive io.Reader, dir string, options layertar.UnpackOptions) error
}

// Archive has the library extract an archive into the directory dir. No name in the archive, and no link, leads out of
// dir.
//
// The library's chrootarchive does that in a child process. Starting the child takes as long as extracting hundreds of
// files, and the child gets the archive through a pipe. A thread can have a root directory of its own as well, so
// Archive extracts in a thread. It extracts in a child if such a thread is forbidden, if the library would write to the
// log or, with IgnoreChownErrors, to os.Stderr, or if logging may open files (see LogsToFile), whose paths must not be
// looked up in dir. Lines of a child to the log or to os.Stderr are lost, unless the child fails: then the library's
// error has it.
//
// The memory that an archive takes is this process's, not a child's, so layertar.Scan limits it. Descriptors count in
// this process as well: while the archive replaces a directory by a file, the library has one open for each level of
// that directory.
//
// If an entry is going to destroy what an earlier entry brought, Archive keeps the earlier content with k first. It
// cannot do so if a child extracts, because nobody knows how far the child has come.
func Archive(source *layertar.Scan, dir string, options layertar.UnpackOptions, k *kept.Keeper, x Extractor) error {
	begin := beginning(source)
	loud := source.Seen.Loud || options.InUserNS && source.Seen.Xattrs
	if options.IgnoreChownErrors || loud || !LogsToFile(logrus.StandardLogger()) {
		return unpackInChild(begin, dir, options, x.InChild)
	}
	// Make package time read the local time zone now. It reads the file of the time zone once, when it first needs it,
	// for example to log something, and must not look for that file in dir.
	_ = time.Local.String()
	r, w := layertar.NewChunkPipe()
	unpacked, err := InRoot(dir, func() error {
		defer r.Close()
		if err := x.InThread(r, "/", options); err != nil {
			return err
		}
		// Read past the end of the archive to the end of the stream: whoever writes the archive may wait for that.
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if fsutil.IsForbidden(err) {
		return unpackInChild(begin, dir, options, x.InChild)
	}
	if err != nil {
		return err
	}
	source.Watched = true
	// Read the source in this thread, not in the one with another root directory: the source may open any files.
	return Feed(begin, w, unpacked, func() error { return k.Before(source.Cut) })
}

// unpackUmask is the umask for extracting an archive. The library makes a directory that has no entry in the archive
// with the mode 0777.
const unpackUmask = 0o022

// unpackInChild has a child process of the library extract an archive into the directory dir. The child inherits the
// umask of the thread that starts it, so unpackInChild starts it from a thread of its own.
func unpackInChild(source io.Reader, dir string, options layertar.UnpackOptions, unpack func(io.Reader, string, layertar.UnpackOptions) error) error {
	// Open dir here: the caller may be in a mount namespace that the other thread is not in.
	root, err := os.OpenFile(dir, fsutil.OpenDirectory, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	end := make(chan error, 1)
	go fsutil.OnOtherThread(func() {
		// If unshare is forbidden, the child has the umask of this process.
		forbidden := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_FS))
		if forbidden == nil {
			unix.Umask(unpackUmask)
		}
		err := fsutil.Recovered(func() error {
			return unpack(source, fmt.Sprintf("/proc/self/fd/%d", root.Fd()), options)
		})
		if err != nil && forbidden != nil {
			// The child needs unshare as well, and its error does not name that call.
			err = fmt.Errorf("%w; %w", err, forbidden)
		}
		end <- err
	})
	return <-end
}

// FirstLook is how many bytes of an archive are looked at before any of it is extracted, to find things that the
// library would log. If an archive has such things only later, the library logs them.
const FirstLook = layertar.Chunk

// beginning looks at the first part of an archive, and returns a reader of the whole archive.
func beginning(source *layertar.Scan) io.Reader {
	first := make([]byte, FirstLook)
	n, err := 0, error(nil)
	for n < len(first) && err == nil && source.Cut == nil {
		var m int
		m, err = source.Read(first[n:])
		n += m
	}
	if err != nil {
		return io.MultiReader(bytes.NewReader(first[:n]), failing{err})
	}
	return io.MultiReader(bytes.NewReader(first[:n]), source)
}

// failing is a reader that returns nothing but an error.
type failing struct{ error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) { return 0, f.error }

// LogsToFile reports whether log messages go to an open file, or nowhere. In both cases logging does not look up a
// path.
func LogsToFile(logger *logrus.Logger) bool {
	for _, hooks := range logger.Hooks {
		if len(hooks) > 0 {
			return false
		}
	}
	_, isFile := logger.Out.(*os.File)
	return isFile || logger.Out == io.Discard
}

// errAbandoned ends the archive if reading its source panics.
var errAbandoned = errors.New("nobody reads the archive any more")

// Feed copies the archive from source to w, and waits for the result of the extraction, which comes from unpacked. It
// calls atCut at each cut of the archive.
func Feed(source io.Reader, w *layertar.ChunkWriter, unpacked <-chan error, atCut func() error) error {
	ended := false
	defer func() {
		if !ended {
			w.End(errAbandoned)
			<-unpacked
		}
	}()
	var failed error
	read := w.Fill(source, func() error {
		failed = atCut()
		return failed
	})
	ended = true
	w.End(read)
	err := <-unpacked
	switch {
	case err == nil:
		return nil
	case store.HasNoRoom(err), read != nil && errors.Is(err, read):
		err = fmt.Errorf("unpacking the archive: %w", err)
	default:
		// Do not wrap the error: if it says that something does not exist or is not permitted, it is about a file of
		// the archive.
		err = fmt.Errorf("unpacking the archive: %v", err) //nolint:errorlint // see above
	}
	if errors.Is(read, io.ErrClosedPipe) || failed != nil {
		if rerr := readRest(source); rerr != nil {
			err = fmt.Errorf("%w; reading the rest of the archive: %w", err, rerr)
		}
	}
	return err
}

// readRest reads an archive to its end, across cuts, and discards it. Whoever writes the archive waits for that.
func readRest(source io.Reader) error {
	for {
		if _, err := io.Copy(io.Discard, source); !errors.Is(err, layertar.ErrCut) {
			return err
		}
	}
}

// InRoot runs f on a thread that has dir as its root directory and its working directory: absolute paths and ".." end
// there. Goroutines that f starts do not have that root. The result of f comes from ended when the thread no longer
// uses dir. If InRoot returns an error, f does not run.
func InRoot(dir string, f func() error) (ended <-chan error, err error) {
	// Open dir here: the caller may be in a mount namespace that the other thread is not in.
	root, err := os.OpenFile(dir, fsutil.OpenDirectory, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	began, end := make(chan error, 1), make(chan error, 1)
	go fsutil.OnOtherThread(func() {
		leave, err := enterRoot(root)
		began <- err
		if err == nil {
			err = fsutil.Recovered(f)
			leave()
			end <- err
		}
	})
	return end, <-began
}

// enterRoot makes an open directory the root directory and the working directory of the calling thread alone. leave
// undoes that.
func enterRoot(root *os.File) (leave func(), err error) {
	outside, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/", Err: err}
	}
	// Without this, all threads share their root directory, working directory and umask.
	if err = os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_FS)); err == nil {
		err = os.NewSyscallError("fchdir", unix.Fchdir(int(root.Fd())))
	}
	if err == nil {
		err = os.NewSyscallError("chroot", unix.Chroot("."))
	}
	if err != nil {
		_ = unix.Close(outside)
		return nil, fmt.Errorf("making %s the root directory: %w", root.Name(), err)
	}
	unix.Umask(unpackUmask)
	return func() {
		// The thread is about to end, so it does not matter if this fails.
		_ = unix.Fchdir(outside)
		_ = unix.Chroot(".")
		_ = unix.Close(outside)
	}, nil
}
