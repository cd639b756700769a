//go:build linux

package drivertest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"github.com/sirupsen/logrus"
)

// heardLog holds what was logged, from the level info on.
type heardLog struct {
	mu    sync.Mutex
	lines []string // under mu
}

// Levels implements logrus.Hook.
func (*heardLog) Levels() []logrus.Level {
	return []logrus.Level{logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel, logrus.InfoLevel}
}

// Fire implements logrus.Hook.
func (l *heardLog) Fire(e *logrus.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, e.Message)
	return nil
}

// none fails the test for each line that was logged since the last call.
func (l *heardLog) none(t *testing.T, when string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		t.Errorf("%s: the log has %q", when, line)
	}
	l.lines = nil
}

// hearLog listens to the log until the test ends.
func hearLog(t *testing.T) *heardLog {
	t.Helper()
	l, logger := &heardLog{}, logrus.StandardLogger()
	before := logger.ReplaceHooks(logrus.LevelHooks{})
	logger.AddHook(l)
	t.Cleanup(func() { logger.ReplaceHooks(before) })
	return l
}

// TestHeldMountIsNotLogged has the mount of a layer live on in another mount namespace. The mount of a container does so for as long as the
// process that watches over the container runs. This is normal and nobody has to do anything about it, so the driver does not log it.
func TestHeldMountIsNotLogged(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		log := hearLog(t)
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"a": "", "b": ""})
		s.create(t, "base", "child", "grandchild")
		dir := s.get(t, "child")
		must(t, os.Remove(filepath.Join(dir, "a")))
		end := leak(t)
		// A mount of a layer that is mounted elsewhere makes overlayfs warn.
		t.Cleanup(wire.ExpectMessages("undefined behavior"))
		must(t, s.Put("child"))
		log.none(t, "Put")
		sameNames(t, s.see(t, "child").Names(), "b")
		log.none(t, "Get and Put")
		sameNames(t, s.see(t, "child", "ro").Names(), "b")
		log.none(t, "Get and Put, read-only")
		sameNames(t, s.see(t, "grandchild").Names(), "b")
		log.none(t, "Get and Put of a child")
		again, err := reopen(string(s.inner.Home), name)
		must(t, err)
		log.none(t, "Init")
		sameNames(t, again.see(t, "child").Names(), "b")
		log.none(t, "another driver's Get and Put")
		end()
		sameNames(t, s.see(t, "grandchild").Names(), "b")
		sameNames(t, s.see(t, "child").Names(), "b")
		s.hasForm(t, "child", s.written())
		log.none(t, "Get and Put after it")
	})
}
