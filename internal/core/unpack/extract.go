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

// An Extractor extracts an archive into a directory: a storage library does.
type Extractor struct {
	// InThread extracts into dir, which is the root directory of the calling thread, or below it.
	InThread func(archive io.Reader, dir string, options layertar.UnpackOptions) error
	// InChild extracts into dir, in a child that has it as its root directory.
	InChild func(archive io.Reader, dir string, options layertar.UnpackOptions) error
}

// Archive has the library extract an archive into the directory dir. No name in the archive, and no link, leads out of it.
//
// The library's chrootarchive has a child for that, which takes as long to start as hundreds of files take, and gets the archive through a
// pipe. A thread can have a root directory of its own as well. Where that is forbidden, it is the child that extracts; and where the
// library writes to the log: that may lead to files, and what a child says there is not heard.
//
// What an archive takes is this process's, not a child's: layertar.Scan has a limit for the memory. The library holds a descriptor for
// each level of a directory that the archive replaces by a file.
//
// What an entry destroys of those before it is kept, but not where it is a child that extracts: nobody knows how far that has come.
func Archive(source *layertar.Scan, dir string, options layertar.UnpackOptions, k *kept.Keeper, x Extractor) error {
	begin := beginning(source)
	loud := source.Seen.Loud || options.InUserNS && source.Seen.Xattrs
	if options.IgnoreChownErrors || loud || !LogsToFile(logrus.StandardLogger()) {
		return unpackInChild(begin, dir, options, x.InChild)
	}
	// What package time reads of it, once for all and for whoever writes to a log, is not to be read there.
	_ = time.Local.String()
	r, w := layertar.NewChunkPipe()
	unpacked, err := InRoot(dir, func() error {
		defer r.Close()
		if err := x.InThread(r, "/", options); err != nil {
			return err
		}
		// Whoever writes the archive may wait for the end of it to be read, which is behind the end of what it has.
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
	// It is read here, for who knows which files it opens.
	return Feed(begin, w, unpacked, func() error { return k.Before(source.Cut) })
}

// unpackUmask is the umask of what extracts an archive: the library gives directories that the archive has no entry for the mode 0777.
const unpackUmask = 0o022

// unpackInChild has a child of the library's extract an archive into the directory dir. The child gets the umask of the thread that starts
// it, so that is one of its own.
func unpackInChild(source io.Reader, dir string, options layertar.UnpackOptions, unpack func(io.Reader, string, layertar.UnpackOptions) error) error {
	// The caller may be in a mount namespace that the other thread is not in.
	root, err := os.OpenFile(dir, fsutil.OpenDirectory, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	end := make(chan error, 1)
	go fsutil.OnOtherThread(func() {
		// Where that is forbidden, it is the umask of this process.
		forbidden := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_FS))
		if forbidden == nil {
			unix.Umask(unpackUmask)
		}
		err := fsutil.Recovered(func() error {
			return unpack(source, fmt.Sprintf("/proc/self/fd/%d", root.Fd()), options)
		})
		if err != nil && forbidden != nil {
			// The child needs that call as well, and does not name it.
			err = fmt.Errorf("%w; %w", err, forbidden)
		}
		end <- err
	})
	return <-end
}

// FirstLook is how much of an archive is looked at, for what the library would log, before any of it is extracted. One that has such things
// only later makes the library say so.
const FirstLook = layertar.Chunk

// beginning looks at the first part of an archive, and returns what is to be read in place of all of it.
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

// failing is a reader with nothing but an error.
type failing struct{ error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) { return 0, f.error }

// LogsToFile tells if what is logged goes to an open file, or nowhere: nothing is looked for by its path then.
func LogsToFile(logger *logrus.Logger) bool {
	for _, hooks := range logger.Hooks {
		if len(hooks) > 0 {
			return false
		}
	}
	_, isFile := logger.Out.(*os.File)
	return isFile || logger.Out == io.Discard
}

// errAbandoned: what reads the archive has panicked.
var errAbandoned = errors.New("nobody reads the archive any more")

// Feed reads the archive from source into w, for what ends with unpacked.
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
		err = fmt.Errorf("unpacking it: %w", err)
	default:
		// Of what may not be found, or allowed, it is the archive's own doing.
		err = fmt.Errorf("unpacking it: %v", err) //nolint:errorlint // see above
	}
	if errors.Is(read, io.ErrClosedPipe) || failed != nil {
		if rerr := readRest(source); rerr != nil {
			err = fmt.Errorf("%w; reading the rest of it: %w", err, rerr)
		}
	}
	return err
}

// readRest reads an archive to its end, for whoever writes it waits for that. Nothing is kept of it, and it is read across cuts.
func readRest(source io.Reader) error {
	for {
		if _, err := io.Copy(io.Discard, source); !errors.Is(err, layertar.ErrCut) {
			return err
		}
	}
}

// InRoot runs f on a thread that has dir as its root directory, and as its working directory: absolute paths and ".." end there. f must
// not have others do what is to be done there. What it returns can be received from ended; the thread does not use dir any more then.
// The error says that f does not run.
func InRoot(dir string, f func() error) (ended <-chan error, err error) {
	// The caller may be in a mount namespace that the other thread is not in.
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

// enterRoot makes an open directory the root directory, and the working directory, of the calling thread alone. To leave it ends that.
func enterRoot(root *os.File) (leave func(), err error) {
	outside, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/", Err: err}
	}
	// The other threads have these, and their umask, together.
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
		// The thread is about to end, and what of this has failed ends with it.
		_ = unix.Fchdir(outside)
		_ = unix.Chroot(".")
		_ = unix.Close(outside)
	}, nil
}
