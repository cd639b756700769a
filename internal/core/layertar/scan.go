//go:build linux

package layertar

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
)

// A Scan passes a tar archive on to its reader, and looks at the headers before it does. It neither looks at the
// content of files nor copies it.
//
// Passing on and looking are two goroutines that take turns. A coroutine of package iter would bind every reader to the
// thread of the first one.
type Scan struct {
	r io.Reader
	// Read sends what it has read to the channel next, unless look does not need it. Contents closes next. look sends to
	// the channel looked when it has looked at all of that, or has come to a cut. It closes done when it looks at
	// nothing more.
	next   chan []byte
	looked chan struct{}
	done   chan struct{}
	// rest is the part of the last read that look has not looked at yet. skip is how many of the following bytes look
	// does not need.
	rest []byte
	skip int64
	at   int64 // look's offset in the archive
	Seen Contents
	// MayKeep is MostKept, or less in tests.
	MayKeep int64
	// refused says why no more of the archive is read.
	refused error
	cutting
}

// A cutting is the state of a Scan at a cut. The Scan has looked at the archive up to the entry after the cut. It
// passes on no more until everything before the cut has been dealt with, and until then it does not look at the rest of
// what was read.
type cutting struct {
	Cut *Cut
	// Watched makes Read return ErrCut at a cut, once.
	Watched bool
	resume  chan struct{}
	// ready has been looked at, and is to be passed on. held is to be looked at. ended is the error of the last read.
	ready, held []byte
	heldAt      int64 // the offset of held in the archive
	read        int64 // how much of the archive was read
	ended       error
}

// ErrCut is not a failure: it says that everything before a cut was read.
var ErrCut = errors.New("the next entry of the archive may destroy what another one has brought")

// NewScan returns the reader that is to be read in place of r. An archive that would take too much memory is an error.
// When nobody reads any more, Contents must be called once.
func NewScan(r io.Reader) *Scan {
	s := &Scan{
		r: r, next: make(chan []byte), looked: make(chan struct{}), done: make(chan struct{}), Seen: newArchiveContents(),
		MayKeep: MostKept, cutting: cutting{resume: make(chan struct{})},
	}
	go s.look()
	return s
}

// Read reads from the archive.
func (s *Scan) Read(p []byte) (int, error) {
	if len(s.ready) == 0 && s.Cut != nil {
		if s.Watched && !s.Cut.told {
			s.Cut.told = true
			return 0, ErrCut
		}
		s.goOn()
	}
	switch {
	case s.refused != nil:
		return 0, s.refused
	case len(s.ready) > 0:
		n := copy(p, s.ready)
		s.ready = s.ready[n:]
		return n, nil
	case s.ended != nil:
		return 0, s.ended
	}
	n, err := s.r.Read(p)
	s.read += int64(n)
	// Between its turns, look does not touch skip, so Read may change it.
	if n == 0 {
		return n, err
	}
	if s.skip >= int64(n) {
		s.skip -= int64(n)
		return n, err
	}
	select {
	case s.next <- p[:n]:
		s.turn()
	case <-s.done:
	}
	if s.refused != nil {
		return 0, s.refused
	}
	if s.Cut != nil {
		s.heldAt, s.ended = s.Cut.At, err
		before := n - int(s.read-s.heldAt)
		s.held = bytes.Clone(p[before:n])
		s.rest = s.held[len(s.held)-len(s.rest):]
		return before, nil
	}
	return n, err
}

// turn waits until look has had its turn.
func (s *Scan) turn() {
	select {
	case <-s.looked:
	case <-s.done:
	}
}

// goOn resumes after a cut: look then looks at the rest of what was read, up to the next cut.
func (s *Scan) goOn() {
	s.Cut = nil
	s.resume <- struct{}{}
	s.turn()
	looked := len(s.held)
	if s.Cut != nil {
		looked = int(s.Cut.At - s.heldAt)
	}
	s.ready, s.held, s.heldAt = s.held[:looked], s.held[looked:], s.heldAt+int64(looked)
}

// MostKept is how many bytes the library may keep of one archive. mostHeader is how many bytes the header of one file
// may have, all of which package tar or the library has in memory. The limits are needed because headers compress to
// almost nothing, and this process may be one that unpacks many archives. They allow a layer of 400,000 directories, or
// a file in a million pieces; an image does not come near that.
const (
	MostKept   = 128 << 20
	mostHeader = 32 << 20
)

// The errors of an archive that takes too much memory.
var (
	ErrTooMuchKept = fmt.Errorf("the directories of the archive would take more than %d MB of memory, which is enough for about %d directories",
		MostKept>>20, MostKept/keptHeader/10000*10000)
	ErrLongHeader = fmt.Errorf("the archive has a header of more than %d MB", mostHeader>>20)
)

// ErrRootHasContent is the error of an archive whose root directory is a file with content. Some versions of the library leave such an entry out,
// and the content could not be given back.
var ErrRootHasContent = errors.New("the archive has a file for the root directory")

// Contents returns the contents of the archive, as far as it was read, and ends the look at it.
func (s *Scan) Contents() *Contents {
	close(s.resume)
	close(s.next)
	<-s.done
	return &s.Seen
}

// ContentsOnce calls read, which reads from s, and returns the contents of what was read. It ends the look even if read
// panics.
func (s *Scan) ContentsOnce(read func() error) (contents *Contents, err error) {
	defer func() { contents = s.Contents() }()
	return nil, read()
}

// look reads the archive, in turns with the reader of s.
func (s *Scan) look() {
	defer close(s.done)
	next, more := <-s.next
	s.rest = next
	source := &scanned{Scan: s, ended: !more}
	r := tar.NewReader(source)
	for {
		source.header = 0
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			// This is not an archive, or its end is missing.
			s.Seen.unknown()
			return
		}
		if header.Size > 0 && header.Typeflag != tar.TypeDir && path.Clean("/"+header.Name) == "/" {
			s.refused = ErrRootHasContent
		}
		cut := s.Seen.add(header, source.header)
		if s.Seen.kept > s.MayKeep {
			s.refused = ErrTooMuchKept
		}
		if cut != nil && !s.pause(cut) {
			return
		}
	}
}

// pause waits at a cut, and reports whether anybody still reads. The cut is before the last byte of the header. A
// reader that asks for more after the cut has dealt with all earlier entries, and does not know of this one yet.
func (s *Scan) pause(cut *Cut) (more bool) {
	cut.At = s.at - 1
	s.Cut = cut
	s.looked <- struct{}{}
	_, more = <-s.resume
	return more
}

// scanned is the reader from which look gets the archive.
type scanned struct {
	*Scan
	ended bool
	// header is how many bytes were read for the header of the current file.
	header int64
}

func (s *scanned) Read(p []byte) (int, error) {
	if s.header > mostHeader {
		s.refused = ErrLongHeader
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

// Seek moves forward from the current position. tar.Reader calls it to pass over the content of a file.
func (s *scanned) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.ErrUnsupported
	}
	s.skip += offset
	s.at += offset
	return s.at, nil
}
