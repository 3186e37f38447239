// trimtab-worker merge and export-gguf: adapters out of the house.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/json.h"
#include "retrain/model/merge.h"
#include "retrain/worker_command.h"

namespace trimtab::retrain {
namespace {

struct Options {
  std::string base, adapter, out;
  std::string dtype = "base";
  bool json = false;
};

int done(const Options& options) {
  if (options.json) std::printf("%s\n", dump_json(OrderedJson{{"out", options.out}}).c_str());
  return 0;
}

std::shared_ptr<Options> common(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--base", options->base, "Snapshot folder")->required();
  app.add_option("--adapter", options->adapter, "PEFT folder")->required();
  app.add_option("--out", options->out, "What to write")->required();
  app.add_flag("--json", options->json, "Print one JSON object");
  return options;
}

}  // namespace

Run add_merge(CLI::App& app) {
  auto options = common(app);
  app.add_option("--dtype", options->dtype, "base (as stored), float32 or bfloat16");
  return [options]() -> Result<int> {
    model::prepare_process(2);
    TRIMTAB_CHECK_OK(
        model::merge_snapshot(options->base, options->adapter, options->out, options->dtype));
    return done(*options);
  };
}

Run add_export_gguf(CLI::App& app) {
  auto options = common(app);
  return [options]() -> Result<int> {
    model::prepare_process(2);
    TRIMTAB_TRY(const auto decoder, model::Decoder::load(options->base));
    TRIMTAB_TRY(const auto adapter, model::load_adapter(options->adapter, *decoder));
    TRIMTAB_CHECK_OK(model::export_gguf(*decoder, *adapter, options->out));
    return done(*options);
  };
}

}  // namespace trimtab::retrain
