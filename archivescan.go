//go:build linux

package aufs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

// An archiveScan passes a tar archive on, and reads it itself on the way: what was passed on has been looked at. Content of files
// is not looked at, nor copied.
//
// The two are goroutines that take turns: a coroutine of package iter would bind those who read to the thread of the one who began.
type archiveScan struct {
	r io.Reader
	// next is what was read and look has to look at; closed at the end. It is all looked at when looked gets something, and none is
	// looked at any more once done is closed.
	next   chan []byte
	looked chan struct{}
	done   chan struct{}
	// rest is what look has not had yet of what was read last, and skip how much of what comes next it does not want.
	rest []byte
	skip int64
	at   int64 // in the archive
	seen archiveContents
	// refused says why no more of the archive is read.
	refused error
}

// scanArchive returns what is to be read in place of r. An archive that would take too much memory is an error. Its contents have to be
// asked for, once, when nobody reads any more.
func scanArchive(r io.Reader) *archiveScan {
	s := &archiveScan{
		r: r, next: make(chan []byte), looked: make(chan struct{}), done: make(chan struct{}), seen: newArchiveContents(),
	}
	go s.look()
	return s
}

// Read reads from the archive.
func (s *archiveScan) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	// Between the turns nobody else uses skip.
	if n == 0 {
		return n, err
	}
	if s.skip >= int64(n) {
		s.skip -= int64(n)
		return n, err
	}
	select {
	case s.next <- p[:n]:
		select {
		case <-s.looked:
		case <-s.done:
		}
	case <-s.done:
	}
	if s.refused != nil {
		return 0, s.refused
	}
	return n, err
}

// mostKept is how much the library may have to keep of one archive, and mostHeader how much of it can be the header of one file, which
// package tar, or the library, has in memory. Headers compress to nothing, and this process may be one that unpacks many archives. An image
// does not come near that: it is a layer of 400,000 directories, or a file in a million pieces.
const (
	mostKept   = 128 << 20
	mostHeader = 32 << 20
)

var (
	errTooMuchKept = fmt.Errorf("the directories of the archive would take more than %d MB of memory, which is enough for about %d of them",
		mostKept>>20, mostKept/keptHeader/10000*10000)
	errLongHeader = fmt.Errorf("the archive has a header of more than %d MB", mostHeader>>20)
)

// contents are those of the archive, as far as it was read. After that nothing more is looked at.
func (s *archiveScan) contents() *archiveContents {
	close(s.next)
	<-s.done
	return &s.seen
}

// look reads the archive, in turns with what reads from s.
func (s *archiveScan) look() {
	defer close(s.done)
	next, more := <-s.next
	s.rest = next
	source := &scanned{archiveScan: s, ended: !more}
	r := tar.NewReader(source)
	for {
		source.header = 0
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			// It is no archive, or the end of it is not there.
			s.seen.unknown()
			return
		}
		s.seen.add(header, source.header)
		if s.seen.kept > mostKept {
			s.refused = errTooMuchKept
		}
	}
}

// scanned is what comes from an archiveScan, for look.
type scanned struct {
	*archiveScan
	ended bool
	// header is how much was read for the header of one file.
	header int64
}

func (s *scanned) Read(p []byte) (int, error) {
	if s.header > mostHeader {
		s.refused = errLongHeader
		return 0, s.refused
	}
	for int64(len(s.rest)) <= s.skip {
		s.skip -= int64(len(s.rest))
		s.rest = nil
		if s.ended {
			return 0, io.EOF
		}
		s.looked <- struct{}{}
		next, more := <-s.next
		s.rest, s.ended = next, !more
	}
	n := copy(p, s.rest[s.skip:])
	s.rest, s.skip, s.at, s.header = s.rest[s.skip:][n:], 0, s.at+int64(n), s.header+int64(n)
	return n, nil
}

// Seek goes on from here: tar.Reader passes over the content of a file by it.
func (s *scanned) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.ErrUnsupported
	}
	s.skip += offset
	s.at += offset
	return s.at, nil
}
