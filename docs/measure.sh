#!/usr/bin/env bash
# Measure a model on the data sets of one folder, and write docs/results.md: a picture and ten lines
# (docs/results_head.py), then the tables of the runs.
#
#     docs/measure.sh DATA RUNS [options of persam bench, such as --model facebook/sam-vit-huge]
#
# DATA holds perseg/, fss/, davis/ and study/ (CATEGORY/images, CATEGORY/masks), and may hold kinds/, photos with an id mask
# and the kind of every id (SET/STEM.webp, SET/STEM.png, objects.json; see `persam bench instances --help`), of which part
# val is measured: the bundled model was trained on the others. RUNS gets the runs with predictions and pictures; a second
# start goes on where the first was stopped.
set -euo pipefail

data=${1:?the folder that holds perseg/, fss/, davis/ and study/}
runs=${2:?a folder for the runs}
shift 2
docs=$(dirname "$0")
page=$docs/results.md

run() { # NAME ARGUMENTS...: one command of persam bench into RUNS/NAME
  local name=$1
  shift
  [ -f "$runs/$name/table.md" ] && return # done by an earlier start
  echo "== $name" >&2
  persam bench "$@" --output "$runs/$name" > "$runs/$name.txt"
}

mkdir -p "$runs"
for set in perseg fss davis study; do
  run "$set" "$set" --data "$data/$set" --mode official --mode persam "$@"
done
run video davis --propagate --data "$data/davis" --method persam --method persam-f --method persam-lk --method persam-f-lk \
  --method official --method official-f --method official-lk --method official-f-lk --method frames-persam \
  --method frames-official "$@"
run video-photo davis --propagate --start photo --data "$data/davis" "$@"
run absent fss --data "$data/fss" --absent "$@"
for suite in modes ablation robustness light portraits presence; do
  run "$suite" "$suite" --data "$data" "$@"
done
run small small --data "$data" --limit 24 "$@" # a photo is 7 scenes, each looked at six times

if [ -d "$data/kinds" ]; then
  run instances instances --data "$data/kinds" --part val "$@"
fi

head=$(python "$docs/results_head.py" "$runs" "$docs/images/results.png")
{
  printf '# Results\n\n%s\n\n' "$head"
  cat << 'TEXT'
What a model reaches on small parts of public data sets, as `persam bench` printed it. Every table names model, encoder,
mode, protocol and number of photos; published numbers stand beside with the conditions that they were measured under,
which are not ours. `docs/measure.sh DATA RUNS` measures and writes this page.

The parts: PerSeg, 2 of its 40 objects; FSS-1000, 2 of 1,000 classes; DAVIS 2016, 6 of 20 validation clips; and five kinds
of picture of an annotation study (breast ultrasound, colon polyps, skin lesions, salt domes, horses). The intervals over
objects say how little two or six objects can tell. The bundled model was not trained on these photos, but those of the
first three sets were looked at while its recipe and the method's defaults were chosen. Several objects of one kind are
counted in validation photos of the model's training: fruit, kitchen ware, tools, household things in bins, rubbish bags,
food, strawberries and vehicles; a question is a photo and a kind, and most photos are asked several. In fruit some objects
are not marked in the truth.
TEXT
  for name in perseg fss davis video video-photo study presence absent instances modes ablation robustness light portraits small; do
    [ -f "$runs/$name/table.md" ] || continue
    echo
    sed -E 's/^(#+) /#\1 /' "$runs/$name/table.md"
  done
} > "$page"
echo "$page" >&2
