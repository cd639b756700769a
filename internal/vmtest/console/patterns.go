package console

import (
	"regexp"
	"strings"
)

// stamp matches the time before a message, and the thread or processor that
// CONFIG_PRINTK_CALLER adds.
var stamp = regexp.MustCompile(`^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? `)

// aufsMessage matches all messages of aufs. They begin with the function, the
// line, the command and its process: "aufs au_br_add:234:mount[71]: ...".
var aufsMessage = regexp.MustCompile(`^aufs \w+:\d+:.+\[\d+\]: `)

// sharedUpper matches the message of overlayfs about a directory that is mounted
// writable twice. It does not match the message about a lower directory that
// another mount writes to: a program that mounts a layer and a layer below it
// causes that one on purpose, as the storage library's tests do.
const sharedUpper = `overlayfs: (?:upperdir|workdir) is in-use .*undefined behavior`

// provoked matches the messages of aufs and overlayfs about wrong requests of a program.
var provoked = alternatives(aufsMessage.String(), sharedUpper)

// kernelMessage matches messages that a kernel writes only if something is wrong.
var kernelMessage = alternatives(
	`\bWARNING: `,
	`\bBUG: `,
	`\bkernel BUG at `,
	`^Oops\b`,
	`\bOops: `,
	`general protection fault`,
	`double fault`,
	`unable to handle`,
	`Unable to handle`,
	`Kernel panic`,
	`\bINFO: task .* blocked for more than`,
	`\bINFO: lockdep`,
	`\bINFO: rcu.* (?:stall|kthread starved)`,
	`\brcu: INFO: .*stall`,
	`soft lockup`,
	`hard LOCKUP`,
	`inconsistent lock state`,
	`circular locking dependency`,
	`suspicious RCU usage`,
	`\b(?:KASAN|KCSAN|KFENCE|KMSAN|UBSAN): `,
	`\brefcount_t: `,
	`list_(?:add|del) corruption`,
	`Bad page state`,
	`Bad rss-counter state`,
	`VFS: Busy inodes after unmount`,
	`Out of memory: `,
	`page allocation failure`,
	`segfault at `,
	`\bI/O error\b`,
	`EXT4-fs (?:error|warning)`,
	`XFS .*(?:Internal error|[Cc]orruption|Assertion failed)`,
	`BTRFS (?:error|critical|warning)`,
	// With index=on overlayfs refuses the mount instead, and the message says
	// how to "override exclusive upperdir protection". A refusal is no fault.
	sharedUpper,
	`^unregister_netdevice: waiting`,
)

// ignored matches messages that are no fault, even if they have one of the forms above.
// Every pattern here needs its reason.
var ignored = alternatives(
	// aufs logs, at the level "info", that it rewrites a sparse file of its own.
	`^aufs \w+:\d+:.+\[\d+\]: (?:begin|end) truncating xino\(`,
	// aufs logs this about its option dirperm1, once, whenever the option is used.
	`^aufs au_opts_verify:\d+:.+\[\d+\]: dirperm1 breaks the protection`,
	// The root directories of two branches differ in owner or mode. Layers may
	// differ so; the upper one counts.
	`^aufs test_add:\d+:.+\[\d+\]: uid/gid/perm `,
	// A kernel that cannot open /dev/console before it starts init writes this
	// warning, and works.
	`^Warning: unable to open an initial console`,
)

// traceLine matches the lines that follow a BUG or a WARNING.
var traceLine = alternatives(
	`^(?:R[A-Z0-9]{2}|E[A-Z]{2}|CR\d|FS|DR\d|Code|CPU|Hardware name|Modules linked in|Call Trace|PKRU|Workqueue): ?`,
	`^ (?:\?|</?[A-Z]+>|[\w.]+\+0x)`,
	`^R\d\d: `,
	`^ *\S+\+0x[0-9a-f]+/0x[0-9a-f]+`,
	`^ <`,
)

func alternatives(patterns ...string) *regexp.Regexp {
	return regexp.MustCompile(strings.Join(patterns, "|"))
}
