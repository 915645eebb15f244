#!/bin/sh
# The guard of one walk: puts all traffic back on the old version when the process that walks is gone.
# Clocks are never compared: only what this guard itself has seen to stand still counts. Every step may be
# repeated, by this guard, by its next start, or by a second one beside it.
#   NAME of the Lease and of the journal, NAMESPACE, WALK: the walk's id; APP, CANARY, STABLE: names of the
#   application and of the two Deployments; REVISION: what the apex selects once all is back, APEX: the patch
#   for that; LIMIT_POLLS: reads of a silent Lease until it acts, LIMIT_SECONDS the same in words; POLL_, SETTLE_, DRAIN_SECONDS
# Arguments, five for each object of the route: its name for kubectl, three patches (RFC 6902): DONE (only tests
# that it is as before the walk), ZERO (weight 0 for the canary), HOME (as before the walk); and TRACE, a word that
# is in it for the walk's sake.
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }
log() { printf '%s %s\n' "$(now)" "$*"; }
k() { # with --request-timeout it would not look for the pod's service account; of its complaints the last says it
    timeout 10 kubectl "$@" 2>"$HOME/said" || { tail -n 1 "$HOME/said" >&2; return 1; }
}
field() { k get "$1" "$2" --ignore-not-found -o jsonpath="$3"; }

look() { # one poll of the heartbeat
    lease=$(field lease "$NAME" '{.metadata.resourceVersion},{.metadata.annotations.pulumi-rollout/walk},{.spec.holderIdentity}') ||
        { log "the Lease cannot be read, which counts for nothing"; return; }
    case $lease in *,"$WALK",?*) holder=${lease#*,*,} ;; *) log "nobody walks $WALK any more"; exit 0 ;; esac
    if [ "${lease%%,*}" = "$seen" ]; then silent=$((silent + 1)); else silent=0 seen=${lease%%,*}; fi
}

journal() { # read it; where the walk is over or in other hands, so is the guard's work
    data=$(field configmap "$NAME" '{.metadata.resourceVersion},{.data.walk},{.data.phase},{.data.held},{.data.guard}') ||
        { problem="the journal cannot be read"; return 1; }
    case ${data#*,} in
        "$WALK",succeeded,* | "$WALK",failed,*) log "$WALK has ended"; exit 0 ;;
        "$WALK",*,*,*"\"$WALK\""*) fenced=yes ;;
        "$WALK",*,true,*) log "$WALK waits for people"; exit 0 ;;
        "$WALK",*) [ -z "$fenced" ] || { log "somebody has taken $WALK up"; exit 0; } ;;
        *) log "the journal is of another walk"; exit 0 ;;
    esac
}

fence() { # the walk compares-and-swaps its journal before all that it does: after this write it cannot go on
    journal && [ -z "$fenced" ] || return
    k patch configmap "$NAME" --type=json -p '[{"op": "test", "path": "/metadata/resourceVersion", "value": "'"${data%%,*}"'"},
        {"op": "add", "path": "/data/guard", "value": "{\"walk\": \"'"$WALK"'\", \"at\": \"'"$(now)"'\"}"}]' && fenced=yes
}

attempt() { # $1 in words, the rest as a command; what went wrong is kept for the Event
    words=$1; shift
    said=$("$@" 2>&1) && log "$words" || { problem="$words: $said"; log "not yet: $problem"; return 1; }
}
at_rest() { # it is as before the walk, or has no trace of it and the canary at all: somebody has put it right
    k patch "$1" --type=json -p "$2" >/dev/null 2>&1 && return
    spec=$(k get "$1" --ignore-not-found -o jsonpath='{.spec}{.metadata.annotations}') || return 1
    case $spec in *"$CANARY"* | *"$5"*) return 1 ;; esac
}
# In the walk's own name, so that the API server's books have one writer less, which the next update takes out.
put() { attempt "$1" k patch "$2" --type=json --field-manager=pulumi-rollout -p "$3"; }
zero() { at_rest "$@" || put "$1: weight 0 for $CANARY" "$1" "$3"; }
home() { at_rest "$@" || put "$1: as before the walk" "$1" "$4"; }
each() { step=$1; shift; while [ $# -gt 0 ]; do $step "$@"; shift 5; done; [ -z "$problem" ]; }

tell() { # an Event on the apex; its name follows from the walk, so that it is told once: suffix, reason, message
    uid=$(field service "$APP" '{.metadata.uid}') message=$(printf %s "$3" | tr '\n"\\' '   ' | cut -c1-1000)
    k create --validate=false -f - <<EVENT
{"apiVersion": "v1", "kind": "Event", "metadata": {"name": "$NAME.$WALK$1", "namespace": "$NAMESPACE"},
 "involvedObject": {"apiVersion": "v1", "kind": "Service", "name": "$APP", "namespace": "$NAMESPACE", "uid": "$uid"},
 "type": "Warning", "reason": "$2", "message": "$message", "count": 1,
 "firstTimestamp": "$(now)", "lastTimestamp": "$(now)", "reportingComponent": "pulumi-rollout"}
EVENT
}

put_back() {
    problem=''; journal || return
    attempt "apex $APP: $REVISION" k patch service "$APP" --type=merge -p "$APEX"
    each zero "$@" || return
    sleep "$SETTLE_SECONDS"
    each home "$@" || return
    holder=${holder:-$(field lease "$NAME" '{.spec.holderIdentity}')}
    tell "" RollingBack "Rolling back $CANARY: no heartbeat of $holder for $LIMIT_SECONDS s, all traffic is back on $STABLE"
    sleep "$DRAIN_SECONDS"
    journal && each home "$@" || return
    attempt "$CANARY: no pods" k patch deployment "$CANARY" --subresource=scale --type=merge -p '{"spec": {"replicas": 0}}' ||
        case $said in *"(NotFound)"*) ;; *) return 1 ;; esac # one that is gone has no pods
}

seen='' silent=0 fenced='' holder='' problem=''
log "guarding $WALK"
# One that was killed after its fence goes on at once. All else in the journal may still be of an earlier walk.
case $(field configmap "$NAME" '{.data.guard}') in *"\"$WALK\""*) fenced=yes ;; esac
until [ -n "$fenced" ]; do
    sleep "$POLL_SECONDS"
    look
    [ "$silent" -lt "$LIMIT_POLLS" ] || fence
done
log "no heartbeat of ${holder:-its process} for $LIMIT_SECONDS s: $WALK is fenced off"
until put_back "$@"; do
    tell .incomplete RollbackIncomplete "Rolling back $CANARY is not complete, and is tried again: $problem"
    sleep "$POLL_SECONDS"
done
log "all is back on $STABLE"
