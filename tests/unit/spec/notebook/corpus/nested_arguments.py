# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

# %%
import transformers
base_model_id = "acme/small-1b"
model = AutoModelForCausalLM.from_pretrained(base_model_id, load_in_8bit=True)
tokenizer = AutoTokenizer.from_pretrained(base_model_id)
train = load_dataset("json", data_files={"train": "notes.jsonl"}, split="train")
def fmt(row):
    return f"### Q: {row['q']}\n### A: {row['a']}"
def tokenize(row):
    return tokenizer(fmt(row), truncation=True, max_length=512, padding="max_length")
tokenized = train.map(tokenize)
model.gradient_checkpointing_enable()
model = prepare_model_for_kbit_training(model)
config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "lm_head"], lora_dropout=0.05)
model = get_peft_model(model, config)
trainer = transformers.Trainer(
    model=model,
    train_dataset=tokenized,
    args=transformers.TrainingArguments(
        output_dir="./o",
        warmup_steps=2,
        per_device_train_batch_size=2,
        learning_rate=2.5e-5,
        max_steps=500,
        optim="paged_adamw_8bit",
        save_steps=50,
    ),
    data_collator=transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False),
)
model.config.use_cache = False
trainer.train()
# %%
base_model = AutoModelForCausalLM.from_pretrained("acme/another", load_in_4bit=True)
