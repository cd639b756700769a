//go:build linux

package main

// A step is a part of the life of containers.
type step struct {
	name string
	// script runs with bash, in a directory that all steps share. It ends with an error if one of its commands does.
	script string
}

// buildahStep is the step that calls buildah.
const buildahStep = "buildah"

// life returns the steps. Each may use what the steps before it have made. Scripts call quietly what prints names of its own making, and
// check within the step what cannot be compared between stores, such as digests.
func life() []step {
	return []step{
		{"import", `
			fill base
			cp /bin/busybox base/bin/capable; setcap cap_chown+ep base/bin/capable
			setfattr -n user.word -v value base/etc/passwd
			mkdir base/many; for n in $(seq 200); do echo $n >base/many/$n; done
			tar --xattrs --xattrs-include='*' -C base -cf base.tar .
			podman import -q base.tar localhost/base >/dev/null
			podman images --format '{{.Repository}}:{{.Tag}} {{.Size}}'`},
		{"run", `
			podman run --rm localhost/base sh -c 'echo out; echo err >&2; id; ls /many | wc -l; stat -c "%n %a %u:%g" / /bin /tmp; stat -c "%a %h" /etc/passwd'
			fails 3 podman run --rm localhost/base sh -c 'exit 3'
			podman run --name kept localhost/base sh -c 'echo x >/new; rm /many/1; rm -r /home; mkdir /home; mv /many/2 /many/two; chmod 600 /etc/group'
			podman ps -a --format '{{.Names}} {{.Exited}} {{.ExitCode}}'`},
		{"diff and commit", `
			podman diff kept | sort
			podman commit -q kept localhost/committed >/dev/null
			podman run --rm localhost/committed sh -c 'cat /new; ls /home /many | wc -l; stat -c %a /etc/group'
			podman diff localhost/committed | sort
			podman start -a kept
			podman history --format '{{.Size}}' localhost/committed`},
		{"volumes", `
			mkdir -p host/d; echo host >host/file
			podman run --rm -v vol:/data localhost/base sh -c 'echo kept >/data/file'
			podman run --rm -v vol:/data:ro localhost/base sh -c 'cat /data/file && ! touch /data/x'
			podman run --rm -v $PWD/host:/mnt:ro localhost/base cat /mnt/file
			podman run --rm -v $PWD/host:/mnt:O localhost/base sh -c 'echo changed >/mnt/file; touch /mnt/d/new; cat /mnt/file'
			podman run --rm -v vol:/data:O localhost/base sh -c 'rm /data/file; ls /data'
			podman run --rm --mount type=image,source=localhost/base,destination=/image localhost/base ls /image/etc
			podman run --rm --tmpfs /t localhost/base sh -c 'echo >/t/f; ls /t'
			cat host/file; ls host/d
			podman volume rm vol`},
		{"read-only", `
			podman run --rm --read-only localhost/base sh -c '! touch /x && touch /tmp/x && ls /tmp'
			podman run --rm --read-only --read-only-tmpfs=false localhost/base sh -c '! touch /tmp/x'`},
		{"id maps", `
			for n in 1 2; do podman run --rm --userns=auto:size=1000 localhost/base sh -c 'stat -c %u:%g / /etc/passwd; touch /made; chown 5:5 /made; stat -c %u:%g /made; awk "{ print \$1, \$3 }" /proc/self/uid_map'; done
			podman run --rm --uidmap 0:200000:5000 --gidmap 0:300000:5000 localhost/base sh -c 'stat -c %u:%g / /many/5; echo >/many/5; cat /proc/self/uid_map'
			podman run --name mapped --uidmap 0:200000:5000 localhost/base sh -c 'touch /made'
			podman diff mapped | sort
			podman commit -q mapped localhost/mapped >/dev/null
			podman run --rm localhost/mapped stat -c %u:%g /made /etc/passwd
			podman rm mapped; podman rmi localhost/mapped >/dev/null
			podman system check -m 0s`},
		{"size", `
			podman run --rm --storage-opt size=16M localhost/base sh -c '! dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null && [ $(stat -c %s /big) -le 16777216 ]' 2>error || {
				grep -iq -e quota -e 'backingFS XFS' error; echo no quotas
			}`},
		{"exec and cp", `
			podman run -d --name live localhost/base sh -c 'trap exit TERM; echo begun; while :; do sleep 0.1; done' >/dev/null
			podman exec live sh -c 'echo from exec >/made; ln /made /link; mkfifo /fifo'
			podman exec live ls -l /made | awk '{ print $1, $2 }'
			podman cp live:/made made; cat made
			echo copied >in; podman cp in live:/in; podman exec live cat /in
			podman cp base/many live:/many2; podman exec live sh -c 'ls /many2 | wc -l'
			podman diff live | grep -v many2/ | sort
			podman exec live rm /in
			podman commit -q --pause=true live localhost/oflive >/dev/null
			podman restart -t 5 live; podman exec live cat /made
			podman export live | tar -t | grep -c many2
			podman rm -f -t 0 live
			podman rmi localhost/oflive >/dev/null`},
		{"build", `
			mkdir -p context/dir/sub; echo one >context/dir/one; echo two >context/dir/sub/two; ln -sf one context/dir/link; echo secret >secret
			tar -C context -cf context/added.tar dir
			cat >context/Containerfile <<-'END'
				FROM localhost/base AS first
				ARG WHO=nobody
				ENV A=b
				RUN echo $WHO >/who && rm /many/3 && mkdir /opaque && echo a >/opaque/a
				RUN rm -r /opaque && mkdir /opaque && echo b >/opaque/b
				COPY --chown=7:8 dir /dir
				ADD added.tar /added/
				RUN --mount=type=cache,target=/cache echo x >>/cache/f && wc -l </cache/f
				RUN --mount=type=bind,source=dir,target=/bound cat /bound/one
				RUN --mount=type=tmpfs,target=/t touch /t/x
				RUN --mount=type=secret,id=s cat /run/secrets/s >/dev/null
				RUN <<EOF
				echo here >/here
				EOF
				FROM localhost/base
				COPY --from=first /who /dir /opaque /copied/
				COPY --link --from=first /here /here
				RUN chmod 4755 /copied/who && ln /copied/who /copied/hard
				VOLUME /vol
				USER 12:13
				WORKDIR /work
				HEALTHCHECK CMD true
				LABEL a=b
				ENTRYPOINT ["/bin/sh", "-c"]
				CMD ["id; ls -lR /copied | sed 's/ [A-Z][a-z][a-z] .*:.. / /'"]
			END
			podman build --network=none -q --layers --build-arg WHO=me --secret id=s,src=secret -t localhost/built context >/dev/null
			podman run --rm localhost/built
			podman build --network=none --layers --build-arg WHO=me --secret id=s,src=secret -t localhost/again context 2>&1 | grep -c 'Using cache'
			podman build --network=none -q --squash -t localhost/squashed --build-arg WHO=you --secret id=s,src=secret context >/dev/null
			podman image inspect --format '{{len .RootFS.Layers}}' localhost/built localhost/squashed
			fails 1 podman build --network=none -q -f - context <<<$'FROM localhost/base\nRUN touch /x && false' 2>errors
			grep -q 'RUN touch /x' errors
			podman ps -a --external --format '{{.Names}}'`},
		{buildahStep, `
			mkdir -p copied/sub; echo one >copied/one; echo two >copied/sub/two
			c=$(buildah from --network=none localhost/base)
			buildah run $c sh -c 'echo made >/made; rm /many/5; rm -r /var; mkdir /var; touch /var/new; ln /made /hard'
			buildah copy -q --chown 7:8 $c copied /copied >/dev/null
			dir=$(buildah mount $c); cat $dir/made; echo host >$dir/host
			buildah umount $c >/dev/null
			buildah config --label a=b --user 12:13 --cmd 'id' $c
			buildah commit -q $c localhost/bybuildah >/dev/null
			buildah run $c cat /host
			buildah rm $c >/dev/null
			podman run --rm localhost/bybuildah
			podman run --rm localhost/bybuildah sh -c 'ls /many /var | wc -l; stat -c "%n %a %h %u:%g" /made /copied/sub/two; cat /host'
			podman diff localhost/bybuildah | sort
			printf 'FROM localhost/base\nRUN rm /many/6 && echo x >/x\nRUN mv /x /y\n' >Containerfile
			for isolation in oci chroot; do
				network=none; [ $isolation = oci ] || network=host # chroot has no other
				buildah build --network=$network --isolation $isolation -q --layers -t localhost/$isolation -f Containerfile . >/dev/null
				podman run --rm localhost/$isolation sh -c 'cat /y; ls /many | wc -l; ls /'
			done
			c=$(buildah from --network=none --userns-uid-map 0:100000:5000 --userns-gid-map 0:100000:5000 localhost/base)
			buildah run $c sh -c 'touch /made; stat -c %u:%g /made /many/7; echo >/many/7'
			buildah commit -q --rm $c localhost/mapped >/dev/null
			podman run --rm localhost/mapped stat -c %u:%g /made /many/7 /
			podman rmi localhost/bybuildah localhost/oci localhost/chroot localhost/mapped >/dev/null
			buildah containers -q`},
		{"forty layers", `
			{ echo FROM localhost/base; for n in $(seq 40); do echo "RUN echo $n >/layer$n && rm -f /layer$((n - 2))"; done; } >deep
			podman build --network=none -q --layers -t localhost/deep -f deep context >/dev/null
			podman run --rm localhost/deep sh -c 'ls -d /layer*'`},
		{"save and load", `
			for format in docker-archive oci-archive; do
				podman save -q --format $format -o saved.$format localhost/built
				podman image inspect --format '{{.RootFS}}' localhost/built >before
				podman rmi -f localhost/built localhost/again >/dev/null
				podman load -q -i saved.$format
				podman image inspect --format '{{.RootFS}}' localhost/built >after
				cmp before after
				podman run --rm localhost/built
			done
			podman save -q --format oci-dir -o saved.dir localhost/deep
			podman rmi localhost/deep >/dev/null
			podman pull -q oci:saved.dir >/dev/null
			podman save -q --format oci-dir -o saved.dir2 $(podman images -q | head -n 1)
			for dir in saved.dir saved.dir2; do
				manifest=$(jq -r '.manifests[0].digest' $dir/index.json)
				jq -r '.layers[].digest' $dir/blobs/sha256/${manifest#*:} >$dir.digests
			done
			wc -l <saved.dir.digests
			cmp saved.dir.digests saved.dir2.digests`},
		{"image mount", `
			dir=$(podman image mount localhost/base)
			ls $dir/etc; fails 1 touch $dir/x 2>/dev/null
			podman image mount
			podman image unmount localhost/base >/dev/null
			podman create --name mounted localhost/base true >/dev/null
			dir=$(podman mount mounted); touch $dir/x; test -e $dir/x
			podman unmount mounted >/dev/null; podman diff mounted; podman rm mounted`},
		{"ten at once", `
			for n in $(seq 10); do podman run --rm localhost/base sh -c "echo $n >/n; rm /many/$n; cat /n; ls /many | wc -l" & done | sort -n >lines
			cat lines; [ $(wc -l <lines) = 20 ]
			for n in $(seq 10); do podman create --name many$n localhost/base true >/dev/null & done; wait
			[ $(podman ps -a --format '{{.Names}}' | grep -c many) = 10 ]
			for n in $(seq 10); do podman rm many$n >/dev/null & done; wait
			podman ps -a --filter name=many --format '{{.Names}}' >left; [ ! -s left ]`},
		{"without root", `
			# The programs of a user make a user namespace, where aufs cannot be mounted.
			id user >/dev/null 2>&1 || useradd user
			home=$PWD/home; conf=$home/.config/containers; mkdir -p $home/{run,tmp} $conf
			grep -v root ../storage.conf >$conf/storage.conf; echo 'backend = "overlay"' >$conf/aufs.conf
			sed '/^\[containers\]/a cgroups = "disabled"
				/^tmp_dir/d' ../containers.conf >$conf/containers.conf
			chown -R user: home; chmod 711 .. ../bin .
			podman() {
				setpriv --reuid user --regid user --clear-groups env -i PATH=$PATH HOME=$home XDG_RUNTIME_DIR=$home/run TMPDIR=$home/tmp podman "$@"
			}
			if grep -q aufs $conf/storage.conf; then
				[ "$(podman info --format '{{index .Store.GraphStatus "Backend"}}')" = overlay ]
			fi
			podman import -q base.tar localhost/base >/dev/null
			podman run --name changed localhost/base sh -ec 'id -u; echo x >/new; rm /many/1; rm -r /var; mkdir /var; touch /var/f; mv /many/2 /many/two; chown 5:6 /etc/group; chmod 600 /etc/group; ln /new /hard'
			podman diff changed | sort
			podman commit -q changed localhost/changed >/dev/null
			podman run --rm localhost/changed sh -c 'cat /hard; ls /many | wc -l; ls /var; stat -c "%n %a %h %u:%g" /new /etc/group /many/3'
			podman run --rm --read-only -v vol:/data localhost/base sh -c 'echo kept >/data/f && cat /data/f && ! touch /x'
			printf 'FROM localhost/base\nRUN rm /many/6 && echo x >/x\nRUN mv /x /y && rm -r /tmp && mkdir /tmp\n' >Containerfile; chmod 644 Containerfile
			podman build --network=none -q --layers -t localhost/built -f - . <Containerfile >/dev/null
			podman run --rm localhost/built sh -c 'cat /y; ls /many | wc -l'
			podman image inspect --format '{{.RootFS}}' localhost/built >before
			podman save -q --format oci-archive localhost/built >saved.user
			podman rmi localhost/built >/dev/null; podman load -q <saved.user
			podman image inspect --format '{{.RootFS}}' localhost/built | cmp before -
			for n in 1 2 3 4; do podman run --rm localhost/base sh -c "rm /many/$n && ls /many | wc -l" & done >lines; wait
			[ $(grep -cx 199 lines) = 4 ]
			podman system check -m 0s
			# This comes after the check. It copies the image for other id maps, and with the overlay driver the check calls such a copy damaged if it
			# was made in a later second.
			podman run --rm --userns=keep-id --user 0 localhost/changed stat -c %u:%g / /etc/group
			podman system reset -f >/dev/null`},
		{"killed", `
			show() { podman image inspect --format '{{.RootFS}}' localhost/{base,committed,squashed}; podman diff kept | sort; }
			show >shown
			# A load that is killed leaves an image without a manifest, on which other commands end. Their error says to remove it.
			usable() {
				for n in 1 2 3 4 5; do
					podman images -aq >/dev/null 2>errors && return
					podman rmi -f $(grep -o '[0-9a-f]\{64\}' errors | head -n 1) >/dev/null 2>&1 || break
				done
				cat errors; return 1
			}
			# killed COMMAND: kill it at a random moment of the time that a load takes.
			killed() {
				local after=$((RANDOM % ms))
				"$@" >/dev/null 2>&1 & sleep $(printf %d.%03d $((after / 1000)) $((after % 1000)))
				pkill -KILL -x podman || true
				wait $! || [ $? != 137 ] || kills=$((kills + 1))
			} 2>/dev/null
			podman save -q --format docker-archive -o built.tar localhost/built
			podman rmi -i -f localhost/built localhost/again >/dev/null
			begin=$(date +%s%N); podman load -q -i built.tar >/dev/null; ms=$((($(date +%s%N) - begin) / 1000000))
			kills=0
			for n in 1 2 3 4 5; do
				# Without its layers in the store, an image is unpacked.
				podman rmi -i -f localhost/built >/dev/null 2>&1 || true
				killed podman load -q -i built.tar; usable
				killed podman pull -q oci:saved.dir; usable
				killed podman build --network=none -q --no-cache --layers -t localhost/killed --secret id=s,src=secret context
				killed podman commit -q kept localhost/killedcommit
				killed podman run --rm localhost/base true
				usable
			done
			[ $kills -gt 0 ] || { echo no podman was killed before it had ended; false; }
			podman ps -a --external --format '{{.Names}}' | { grep -v kept || true; } | xargs -r podman rm -f -t 0 >/dev/null 2>errors || { cat errors; false; }
			podman load -q -i built.tar 2>errors || { cat errors; false; }
			grep -v 'Found incomplete layer' errors >&2 || true
			podman run --rm localhost/built
			podman system check -m 0s --repair --force >/dev/null 2>&1 || true
			podman system check -m 0s
			show | diff shown -
			podman run --rm localhost/committed cat /new`},
		{"prune and reset", `
			podman rm -fa -t 0 >/dev/null
			podman image prune -f >/dev/null
			podman system prune -af >/dev/null
			podman images -q | wc -l
			podman import -q base.tar localhost/base >/dev/null
			podman run -d --name left localhost/base sleep 1000 >/dev/null
			podman system reset -f >/dev/null 2>errors || { cat errors; false; }
			# The end of the container is an event, which podman may write while it removes its directory of events.
			grep -v /tmp_dir/events errors >&2 || true
			fails 1 grep " $ROOT/" /proc/self/mountinfo
			podman ps -aq; podman images -q`},
	}
}
