//go:build linux

package layertar

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// An Scan passes a tar archive on, and reads it itself on the way: what was passed on has been looked at. Content of files
// is not looked at, nor copied.
//
// The two are goroutines that take turns: a coroutine of package iter would bind those who read to the thread of the one who began.
type Scan struct {
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
	Seen Contents
	// MayKeep is MostKept, and less in tests.
	MayKeep int64
	// refused says why no more of the archive is read.
	refused error
	cutting
}

// A cutting is what an Scan does at a cut: it has looked at the archive up to the entry that the cut is before, and passes on no
// more until all that is before the cut has been dealt with. Nobody looks at the rest of what was read then.
type cutting struct {
	Cut *Shortened
	// Watched: Read returns ErrCut at a cut, once.
	Watched bool
	resume  chan struct{}
	// ready was looked at and is to be passed on, and held is to be looked at. Of what was read last, ended is the error.
	ready, held []byte
	heldAt      int64 // in the archive
	read        int64 // how much of the archive was read
	ended       error
}

// ErrCut is no failure: all before a cut was read.
var ErrCut = errors.New("the next entry of the archive may destroy what another one has brought")

// NewScan returns what is to be read in place of r. An archive that would take too much memory is an error. Its contents have to be
// asked for, once, when nobody reads any more.
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

// turn lets look have its turn.
func (s *Scan) turn() {
	select {
	case <-s.looked:
	case <-s.done:
	}
}

// goOn has the rest of what was read looked at after a cut, up to the next one.
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

// MostKept is how much the library may have to keep of one archive, and mostHeader how much of it can be the header of one file, which
// package tar, or the library, has in memory. Headers compress to nothing, and this process may be one that unpacks many archives. An image
// does not come near that: it is a layer of 400,000 directories, or a file in a million pieces.
const (
	MostKept   = 128 << 20
	mostHeader = 32 << 20
)

// The errors of an archive that takes too much memory.
var (
	ErrTooMuchKept = fmt.Errorf("the directories of the archive would take more than %d MB of memory, which is enough for about %d of them",
		MostKept>>20, MostKept/keptHeader/10000*10000)
	ErrLongHeader = fmt.Errorf("the archive has a header of more than %d MB", mostHeader>>20)
)

// Contents are those of the archive, as far as it was read. After that nothing more is looked at.
func (s *Scan) Contents() *Contents {
	close(s.resume)
	close(s.next)
	<-s.done
	return &s.Seen
}

// ContentsOnce calls read, which reads from s, and returns the contents of what it has read. A panic of read ends the look as well.
func (s *Scan) ContentsOnce(read func() error) (contents *Contents, err error) {
	defer func() { contents = s.Contents() }()
	return nil, read()
}

// look reads the archive, in turns with what reads from s.
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
			// It is no archive, or the end of it is not there.
			s.Seen.unknown()
			return
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

// pause waits at a cut, and is false if nobody reads any more. The cut is before the last byte of the header: whoever has all before it has
// dealt with all entries before this one, and does not know of it yet.
func (s *Scan) pause(cut *Shortened) (more bool) {
	cut.At = s.at - 1
	s.Cut = cut
	s.looked <- struct{}{}
	_, more = <-s.resume
	return more
}

// scanned is what comes from an Scan, for look.
type scanned struct {
	*Scan
	ended bool
	// header is how much was read for the header of one file.
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

// Seek goes on from here: tar.Reader passes over the content of a file by it.
func (s *scanned) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.ErrUnsupported
	}
	s.skip += offset
	s.at += offset
	return s.at, nil
}
