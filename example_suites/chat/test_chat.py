"""A conversation of three turns, written as a task: does the model remember what it was told at the start?"""

from pytest_evals import cases, graders, task


@task
async def completion(case, model):
    """Tell a name, talk about something else, then ask for the name: the last answer is graded."""
    talk = [{"role": "user", "content": f"I have {case.thing}. Its name is {case.name}."}]
    first = await model.generate(talk, max_new_tokens=24)
    talk = [*first.messages, {"role": "user", "content": "Write one short sentence about the weather."}]
    second = await model.generate(talk, max_new_tokens=24)
    talk = [*second.messages, {"role": "user", "content": f"What is the name of my {case.thing.split()[-1]}?"}]
    return await model.generate(talk, max_new_tokens=24)


remembered = graders.contains("{{item.name}}", ignore_case=True)


@cases("chat.jsonl", id="id", gates=["remembered.mean >= 0.6"])
def test_chat(remembered):
    assert remembered
