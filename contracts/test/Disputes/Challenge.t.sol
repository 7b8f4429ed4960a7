// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes as I} from "../../src/interfaces/IDisputes.sol";
import {Values} from "../../src/interfaces/IParams.sol";
import {Share} from "../../src/interfaces/Types.sol";
import {Cases} from "../support/Cases.sol";
import {vm} from "../support/Vm.sol";

contract ChallengeTest is Cases {
    function test_it_opens_a_case_takes_the_bond_and_holds_the_stake() public {
        Evidence memory e = _evidence(0);
        bytes32 digest = _digest(e.receipt);
        uint256 before = token.balanceOf(payer);
        uint64 until = uint64(block.timestamp) + 14 days + 7 days;
        _emits(address(cases));
        emit I.Challenged(digest, node, payer, CASE_BOND, until);
        eq("digest", _challenge(e), digest);
        I.Case memory case_ = cases.caseOf(digest);
        eq("node", case_.node, node);
        eq("opened", case_.openedAt, block.timestamp);
        yes("open", case_.state == I.State.Open);
        I.Sides memory sides = cases.sidesOf(node);
        eq("challenger", sides.challenger, payer);
        eq("bond", sides.bond, 50 * OPEN);
        eq("nobody contests", sides.contester, address(0));
        eq("paid", before - token.balanceOf(payer), CASE_BOND);
        eq("held", token.balanceOf(address(cases)), CASE_BOND);
        eq("in", cases.totals().bondsIn, CASE_BOND);
        eq("until", staking.heldUntil(node), until);
    }

    function test_the_authorizer_may_too() public {
        _challengeBy(authorizer, _evidence(0));
        eq("challenger", cases.sidesOf(node).challenger, authorizer);
    }

    function test_the_nodes_own_key_counts_as_its_hot_key_does() public {
        Evidence memory e = _evidence(0);
        _signBy(NODE_KEY, e);
        _challenge(e);
    }

    /// @dev F: with a bond of 0 a challenge would be free. And a case keeps the bond and the stake of its day.
    function test_the_bond_follows_the_minimum_stake_and_is_rounded_up() public {
        Values memory v = values();
        bytes32 digest = _challenge(_evidence(0));
        v.minStake = MIN_STAKE / 2 + 1;
        vm.prank(governor);
        params.set(v);
        eq("not yet", cases.bondNow(), CASE_BOND);
        vm.warp(block.timestamp + 2 days);
        eq("then", cases.bondNow(), CASE_BOND / 2 + 1);
        _contestBy(stranger, digest);
        eq("of its day", cases.totals().bondsIn, 2 * CASE_BOND);
        _judge(digest, true);
        eq("too", cases.totals().slashed, MIN_STAKE);
    }

    /// @dev F: the texts are the payer's. Nobody else may publish them.
    function test_anothers_exchange() public {
        Evidence memory e = _evidence(0);
        address[4] memory others = [stranger, node, signer, governor];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotYourExchange.selector, abi.encode(others[i], payer, authorizer));
            _challengeBy(others[i], e);
        }
    }

    /// @dev F: with a config of its own making a stranger is the payer, but of another channel.
    function test_another_channels_receipt() public {
        Evidence memory e = _evidence(0);
        e.config.payer = stranger;
        _refuses(I.OtherChannel.selector, abi.encode(channels.channelId(e.config), e.receipt.channelId));
        _challengeBy(stranger, e);
    }

    /// @dev F: a case by a friend, so that nobody else can open one.
    function test_a_node_against_itself() public {
        Evidence memory e = _evidence(0);
        e.config.payer = node;
        _refuses(I.SelfChallenge.selector, abi.encode(node, authorizer));
        _challengeBy(authorizer, e);
        (e.config.payer, e.config.authorizer) = (payer, node);
        _refuses(I.SelfChallenge.selector, abi.encode(node, payer));
        _challenge(e);
        e.config.authorizer = signer;
        _refuses(I.SelfChallenge.selector, abi.encode(node, signer));
        _challengeBy(signer, e);
        vm.prank(node);
        staking.revokeSigner(signer);
        _refuses(I.SelfChallenge.selector, abi.encode(node, signer));
        _challengeBy(signer, e);
    }

    function test_other_shares() public {
        Evidence memory e = _evidence(0);
        e.shares[0].account = bob;
        _refuses(I.OtherShares.selector, abi.encode(keccak256(abi.encode(e.shares)), e.receipt.sharesHash));
        _challenge(e);
        e.shares = new Share[](0);
        _refuses(I.OtherShares.selector, abi.encode(keccak256(abi.encode(e.shares)), e.receipt.sharesHash));
        _challenge(e);
    }

    function test_another_prompt() public {
        Evidence memory e = _evidence(0);
        e.prompt = "I never asked this";
        _refuses(I.OtherPrompt.selector, abi.encode(keccak256(e.prompt), e.receipt.work.promptCommit));
        _challenge(e);
    }

    function test_another_output() public {
        Evidence memory e = _evidence(0);
        e.output = "it never said this";
        _refuses(I.OtherOutput.selector, abi.encode(keccak256(e.output), e.receipt.work.outputCommit));
        _challenge(e);
    }

    /// @dev F: where one text ends and the other begins is not the challenger's choice.
    function test_a_word_moved_from_one_text_to_the_other() public {
        Evidence memory e = _evidence(_config(1), 0, "ab", "c");
        (e.prompt, e.output) = (bytes("a"), bytes("bc"));
        _refuses(I.OtherPrompt.selector, abi.encode(keccak256(e.prompt), e.receipt.work.promptCommit));
        _challenge(e);
    }

    function test_texts_of_24_kilobytes_and_no_byte_more() public {
        Evidence memory e = _evidence(_config(1), 0, new bytes(24_000), new bytes(577));
        _refuses(I.TextsTooLong.selector, abi.encode(24_577, 24_576));
        _challenge(e);
        _challenge(_evidence(_config(1), 0, new bytes(24_000), new bytes(576)));
    }

    /// @dev F: an invented receipt would slash any node.
    function test_a_receipt_that_the_node_did_not_sign() public {
        Evidence memory e = _evidence(0);
        _signBy(STRANGER_KEY, e);
        _refuses(I.NotSignedByNode.selector, abi.encode(node, stranger));
        _challenge(e);
        bytes[4] memory forms = _forms(_sign(SIGNER_KEY, _digest(e.receipt)));
        for (uint256 i = 0; i < forms.length; ++i) {
            e.nodeSig = forms[i];
            _refuses(I.NotSignedByNode.selector, abi.encode(node, address(0)));
            _challenge(e);
        }
    }

    /// @dev F: any field that could be changed after the node has signed would make honest work a lie.
    function test_any_field_changed_after_the_signature() public {
        for (uint256 field = 0; field < 13; ++field) {
            Evidence memory e = _evidence(0);
            if (field == 0) ++e.receipt.seq;
            if (field == 1) --e.receipt.issuedAt;
            if (field == 2) e.receipt.adapterId = ONE;
            if (field == 3) ++e.receipt.amount;
            if (field == 4) ++e.receipt.cumulative;
            if (field == 5) e.receipt.algoId = 7;
            if (field == 6) e.receipt.work.requestId = "x";
            if (field == 7) e.receipt.work.indexRoot = "x";
            if (field == 8) (e.prompt, e.receipt.work.promptCommit) = ("x", keccak256("x"));
            if (field == 9) (e.output, e.receipt.work.outputCommit) = ("x", keccak256("x"));
            if (field == 10) e.receipt.work.signalsHash = "x";
            if (field == 11) e.receipt.work.fingerprint = "x";
            if (field == 12) {
                e.shares[0].account = bob;
                e.receipt.sharesHash = keccak256(abi.encode(e.shares));
            }
            vm.expectPartialRevert(I.NotSignedByNode.selector);
            _challenge(e);
        }
    }

    function test_a_revoked_key_answers_as_long_as_stake_does() public {
        Evidence memory e = _evidence(0);
        vm.prank(node);
        staking.revokeSigner(signer);
        vm.warp(block.timestamp + windows().unbonding);
        _challenge(e);
    }

    /// @dev The key is thrown away before the receipt is issued: it must not speak for the node any more.
    function test_a_key_revoked_long_ago_speaks_for_nobody() public {
        vm.prank(node);
        staking.revokeSigner(signer);
        vm.warp(block.timestamp + windows().unbonding + 1);
        Evidence memory e = _evidence(0);
        _refuses(I.NotSignedByNode.selector, abi.encode(node, signer));
        _challenge(e);
    }

    function test_too_late_or_of_a_time_to_come() public {
        Evidence memory e = _evidence(0);
        uint64 issuedAt = e.receipt.issuedAt;
        vm.warp(issuedAt - 1);
        _refuses(I.OutOfTime.selector, abi.encode(issuedAt, issuedAt - 1 - 16 days, issuedAt - 1));
        _challenge(e);
        vm.warp(issuedAt + 16 days + 1);
        _refuses(I.OutOfTime.selector, abi.encode(issuedAt, issuedAt + 1, issuedAt + 16 days + 1));
        _challenge(e);
        vm.warp(issuedAt + 16 days);
        _challenge(e);
    }

    /// @dev F: whoever lost could try again until the voters are tired.
    function test_twice() public {
        Evidence memory e = _evidence(0);
        bytes32 digest = _challenge(e);
        _refuses(I.AlreadyChallenged.selector, abi.encode(digest, I.State.Open));
        _challenge(e);
        _judge(digest, false);
        _refuses(I.AlreadyChallenged.selector, abi.encode(digest, I.State.NotGuilty));
        _challengeBy(authorizer, e);
        e = _evidence(1);
        digest = _challenge(e);
        _lapse(digest);
        _refuses(I.AlreadyChallenged.selector, abi.encode(digest, I.State.Draw));
        _challenge(e);
    }

    function test_one_case_a_node() public {
        bytes32 digest = _challenge(_evidence(0));
        Evidence memory e = _evidence(1);
        _refuses(I.CaseOpen.selector, abi.encode(node, payer));
        _challengeBy(authorizer, e);
        _judge(digest, false);
        _challenge(e);
    }

    /// @dev F: one fault of a software makes many receipts wrong, and must not take everything.
    function test_one_slash_a_week() public {
        _judge(_challenge(_evidence(0)), true);
        uint64 until = uint64(block.timestamp) + 7 days;
        Evidence memory e = _evidence(1);
        vm.warp(until - 1);
        _refuses(I.SlashedLately.selector, abi.encode(node, until));
        _challenge(e);
        vm.warp(until);
        _challenge(e);
    }

    function test_without_stake() public {
        Evidence memory e = _evidence(0);
        vm.startPrank(node);
        staking.unbond(STAKE);
        vm.warp(block.timestamp + windows().unbonding);
        uint256 state = vm.snapshotState();
        staking.withdraw();
        vm.stopPrank();
        _refuses(I.NoStake.selector, abi.encode(node));
        _challenge(e);
        vm.revertToState(state);
        vm.stopPrank();
        _challenge(e);
    }

    function test_without_the_money_for_the_bond() public {
        Evidence memory e = _evidence(0);
        vm.prank(payer);
        token.approve(address(cases), CASE_BOND - 1);
        vm.expectPartialRevert(bytes4(keccak256("ERC20InsufficientAllowance(address,uint256,uint256)")));
        _challenge(e);
    }

    /// @dev The guardian must not be able to protect a node.
    function test_a_pause_does_not_stop_it() public {
        vm.prank(guardian);
        rewards.pause(7 days);
        bytes32 digest = _challenge(_evidence(0));
        _contestBy(stranger, digest);
        _judge(digest, true);
        _withdrawAll(payer);
    }

    function test_fuzz_a_changed_text_is_never_taken(bytes memory prompt, bytes memory output, uint256 at, bool which)
        public
    {
        vm.assume(prompt.length > 0 && output.length > 0 && prompt.length + output.length <= 24_576);
        Evidence memory e = _evidence(_config(1), 0, prompt, output);
        uint256 state = vm.snapshotState();
        _challenge(e);
        vm.revertToState(state);
        bytes memory text = which ? e.prompt : e.output;
        text[at % text.length] ^= 0x01;
        vm.expectPartialRevert(which ? I.OtherPrompt.selector : I.OtherOutput.selector);
        _challenge(e);
    }

    function test_without_a_treasury_nothing_can_be_deployed() public {
        bytes memory arguments = abi.encode(token, params, channels, staking, rewards, address(0));
        vm.expectRevert();
        this.deploy(arguments);
    }

    function deploy(bytes calldata arguments) external {
        _new("Disputes", arguments);
    }
}
