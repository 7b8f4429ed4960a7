// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards as I} from "../../src/interfaces/IAttributionRewards.sol";
import {Opening} from "../../src/interfaces/Types.sol";
import {Receipts} from "../support/Receipts.sol";
import {vm} from "../support/Vm.sol";

contract DrawTest is Receipts {
    function _ready() private returns (Book memory book) {
        book = _booked(ONE);
        _proposeBook(book);
        vm.warp(block.timestamp + windows().window);
    }

    function _send() private {
        vm.prank(signer);
        rewards.draw(node, 0);
    }

    /// @dev F: by a hash that is known when the list is proposed, a node would lie where no point falls.
    function test_the_next_block_draws() public {
        _ready();
        uint64 drawBlock = uint64(vm.getBlockNumber()) + 1;
        _emits(address(rewards));
        emit I.Drawn(node, 0, drawBlock);
        _send();
        eq("block", rewards.proposalOf(node, 0).drawBlock, drawBlock);
        eq("nothing to pay for", rewards.proposalOf(node, 0).redraws, 0);
    }

    function test_not_before_the_review_period_is_over() public {
        _proposeBook(_booked(ONE));
        uint64 readyAt = uint64(block.timestamp) + windows().window;
        vm.warp(readyAt - 1);
        _refuses(I.NotReady.selector, abi.encode(readyAt));
        _send();
        vm.warp(readyAt);
        _send();
    }

    /// @dev F: a stranger who draws while the node is offline would have it pay for the lapse.
    function test_only_a_signer_of_the_node_draws() public {
        _ready();
        address[3] memory others = [stranger, payer, governor];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotSigner.selector, abi.encode(node, others[i]));
            vm.prank(others[i]);
            rewards.draw(node, 0);
        }
        vm.prank(node);
        rewards.draw(node, 0);
    }

    function test_without_a_list_there_is_nothing_to_draw() public {
        Book memory book = _booked(ONE);
        _refuses(I.NotProposed.selector, abi.encode(node, 0, I.State.None));
        _send();
        _finalize(book);
        _refuses(I.NotProposed.selector, abi.encode(node, 0, I.State.Finalized));
        _send();
    }

    function test_a_list_is_not_final_without_a_draw() public {
        Book memory book = _ready();
        _refuses(I.NoSeed.selector, abi.encode(0));
        rewards.finalize(book.record, book.payouts, new Opening[](0));
    }

    function test_not_before_the_hash_is_known_and_not_after_it_is_lost() public {
        Book memory book = _ready();
        _send();
        uint64 drawBlock = rewards.proposalOf(node, 0).drawBlock;
        (Opening[] memory openings,) = _openings(book, "seed");
        _refuses(I.NoSeed.selector, abi.encode(drawBlock));
        rewards.finalize(book.record, book.payouts, openings);
        vm.roll(drawBlock);
        _refuses(I.NoSeed.selector, abi.encode(drawBlock));
        rewards.finalize(book.record, book.payouts, openings);
        vm.roll(drawBlock + 257);
        _refuses(I.NoSeed.selector, abi.encode(drawBlock));
        rewards.finalize(book.record, book.payouts, openings);
    }

    /// @dev F: a node that could draw again at will would do so until only true lines are drawn.
    function test_a_draw_stands_until_it_has_lapsed() public {
        _ready();
        _send();
        uint64 drawBlock = rewards.proposalOf(node, 0).drawBlock;
        vm.roll(drawBlock + windows().redrawBlocks);
        _refuses(I.DrawStands.selector, abi.encode(drawBlock));
        _send();
        vm.roll(drawBlock + windows().redrawBlocks + 1);
        _send();
        eq("new block", rewards.proposalOf(node, 0).drawBlock, drawBlock + windows().redrawBlocks + 2);
        eq("to pay for", rewards.proposalOf(node, 0).redraws, 1);
    }

    function test_a_draw_that_lapsed_costs_half_of_all_pots() public {
        Book memory book = _ready();
        _send();
        vm.roll(vm.getBlockNumber() + 300);
        _draw(book.record, "again");
        (Opening[] memory openings,) = _openings(book, "again");
        rewards.finalize(book.record, book.payouts, openings);
        eq("node", rewards.balanceOf(node), 65 * OPEN - 9.4e18);
        eq("protocol", rewards.balanceOf(treasury), 5 * OPEN + 9.4e18);
        eq("contributor", rewards.balanceOf(alice), 18.8e18);
    }
}
