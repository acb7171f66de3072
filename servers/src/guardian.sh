# Ends the servers of a folder when the process that started them is gone, by whatever means.
# It lies in that folder. $1: `keep` or `remove` the folder.
folder=${0%/*}
trap '' HUP INT TERM

# That process holds the other end. It says farewell when it has tidied up by itself.
read -r farewell && exit 0

# Lines of `pid name`: only processes of server programs that were started on exactly this folder.
servers() {
  for process in /proc/[0-9]*; do
    read -r name <"$process/comm" || continue
    case $name in
      *postgres* | *initdb* | *nats-server* | *redis-server* | *setpriv*) ;;
      *) continue ;;
    esac
    arguments=" $(tr '\0' ' ' <"$process/cmdline") "
    case $arguments in
      *" $folder/postgres/data "* | *" $folder/postgres/data.new "* | *" $folder/nats/nats.conf "* | \
        *" $folder/redis/redis-server "*) echo "${process#/proc/} $name" ;;
    esac
  done 2>/dev/null
}

# One that was being started has its own name by now.
sleep 0.05
servers | while read -r pid name; do
  # PostgreSQL ends at once on QUIT and takes its children along; initdb would finish its step, which nobody
  # needs any more. Paused ones hear nothing until CONT.
  case $name in
    *postgres*) signal=QUIT ;;
    *initdb*) signal=KILL ;;
    *) signal=TERM ;;
  esac
  children=
  read -r children <"/proc/$pid/task/$pid/children"
  kill -s "$signal" "$pid"
  kill -s CONT "$pid" $children
done 2>/dev/null

attempts=0
while [ -n "$(servers)" ] && [ "$attempts" -lt 120 ]; do
  sleep 0.05
  attempts=$((attempts + 1))
done
servers | while read -r pid name; do
  kill -s KILL "$pid"
done 2>/dev/null

[ "$1" = remove ] || exit 0
attempts=0
while ! rm -rf "$folder" 2>/dev/null && [ "$attempts" -lt 40 ]; do
  sleep 0.05
  attempts=$((attempts + 1))
done
