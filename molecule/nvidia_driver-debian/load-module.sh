#!/bin/sh
# Boot Linux $1 in QEMU with its NVIDIA module and load it there: the kernel's own word that the module fits. No GPU, no disk, no KVM.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/bin" "$work/root/proc" "$work/root/dev"
cp /bin/busybox "$work/root/bin/"
module=$(find "/lib/modules/$1" -name 'nvidia-current.ko*' | head --lines=1)
case "$module" in *.xz) xz --decompress --stdout "$module" ;; *) cat "$module" ;; esac > "$work/root/nvidia.ko"
cat > "$work/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox uname -r
/bin/busybox insmod /nvidia.ko
echo "insmod: $?"
/bin/busybox poweroff -f
INIT
chmod 755 "$work/root/init"
(cd "$work/root" && find . | cpio --quiet --create --format=newc) > "$work/initrd"
timeout 300 qemu-system-x86_64 -accel tcg -smp 2 -m 1024 -nographic -no-reboot -kernel "/boot/vmlinuz-$1" -initrd "$work/initrd" \
  -append "console=ttyS0 panic=-1" < /dev/null
